#!/usr/bin/env bash
# Runs a study as a Slurm job array, a shard of it in each job:
#
#   sbatch --array=1-8 experiments/launch/slurm_study.sh fashion_mnist
#
# Submit it from the checkout, which lies, with its .venv, on a file system
# that all nodes see. Arguments go to experiments.study; --workdir has to lie on
# such a file system, too. A job computes its share and then, of the tuning that
# all arms wait for, what no other job computes. A job that was killed, or that
# Slurm put back into the queue, resumes with the same command.
#
#SBATCH --job-name=neuroplastic-study
#SBATCH --cpus-per-task=4
#SBATCH --requeue
set -euo pipefail
first="${SLURM_ARRAY_TASK_MIN:?to be submitted by sbatch --array=1-N}"
# The shards are numbered from 1, whatever the numbers of the array.
step="${SLURM_ARRAY_TASK_STEP:-1}"
shard=$(((SLURM_ARRAY_TASK_ID - first) / step + 1))
count="${SLURM_ARRAY_TASK_COUNT:?}"
cd "${SLURM_SUBMIT_DIR:?}"

exec .venv/bin/python -m experiments.study --shard="$shard/$count" "$@"
