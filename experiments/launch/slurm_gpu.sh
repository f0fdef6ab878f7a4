#!/usr/bin/env bash
# Trains on GPUs under Slurm, one process for each GPU:
#
#   sbatch --nodes=2 --gpus-per-node=4 --ntasks-per-node=4 \
#     experiments/launch/slurm_gpu.sh --config.dataset=fashion_mnist
#
# Submit it from the checkout, which lies, with its .venv, on a file system
# that all nodes see: pip install -e '.[experiments]' 'jax[cuda13]' into it.
# Arguments go to experiments.train. A job that was killed, or that Slurm put
# back into the queue, goes on from its last checkpoint with the same command.
#
#SBATCH --job-name=neuroplastic
#SBATCH --cpus-per-task=8
#SBATCH --requeue
# SIGTERM to every process two minutes before the time is up: they save the
# epoch under way.
#SBATCH --signal=TERM@120
set -euo pipefail
# JAX gives the i-th process of a node the i-th GPU of those that it sees: all
# have to see all.
if [[ -n "${SLURM_GPUS_PER_TASK:-}" ]]; then
  echo "error: with --gpus-per-task JAX does not find its GPU:" \
    "give --gpus-per-node and as many --ntasks-per-node." >&2
  exit 1
fi
cd "${SLURM_SUBMIT_DIR:?to be submitted by sbatch}"

# Most of a GPU's memory at once, so that it is not fragmented; false where the
# GPUs are shared with other programs.
export XLA_PYTHON_CLIENT_PREALLOCATE="${XLA_PYTHON_CLIENT_PREALLOCATE:-true}"
# Matrix products overlap with what travels between GPUs.
export XLA_FLAGS="${XLA_FLAGS:-} --xla_gpu_enable_latency_hiding_scheduler=true"
# What NCCL complains of, and nothing else.
export NCCL_DEBUG="${NCCL_DEBUG:-WARN}"
# Compiled programs, for when the job comes back.
export JAX_COMPILATION_CACHE_DIR="${JAX_COMPILATION_CACHE_DIR:-$PWD/.jax_cache}"

# Since Slurm 22.05 srun does not take this over from sbatch by itself.
export SRUN_CPUS_PER_TASK="${SLURM_CPUS_PER_TASK:-1}"

# With --distributed JAX reads from Slurm's variables who the others are; a
# process that fails ends the job.
exec srun --gpu-bind=none --kill-on-bad-exit=1 \
  .venv/bin/python -m experiments.train --distributed "$@"
