#!/usr/bin/env bash
# Trains on a Cloud TPU slice, one process for each host:
#
#   TPU_NAME=my-v5e-16 ZONE=us-west4-a BUCKET=gs://my-bucket \
#     experiments/launch/tpu_pod.sh --config.dataset=synthetic:32x32x3
#
# It copies the checkout to every host, installs it, and starts the same command
# on all of them. Arguments go to experiments.train. The run directory has to be
# one that all hosts see: the bucket, or a folder of it, is mounted by gcsfuse on
# ~/runs. A slice that was preempted goes on from its last checkpoint with the
# same command.
set -euo pipefail
: "${TPU_NAME:?the name of the TPU VM}" "${ZONE:?its zone}" \
  "${BUCKET:?gs://… for the run directory}"
cd "$(dirname "$0")/../.."

on_all_hosts() {
  gcloud compute tpus tpu-vm ssh "$TPU_NAME" --zone="$ZONE" --worker=all \
    --command="$1"
}

# What git knows, without the runs and the virtual environment.
archive=$(mktemp --suffix=.tar.gz)
trap 'rm -f "$archive"' EXIT
git archive --format=tar.gz --output="$archive" HEAD
gcloud compute tpus tpu-vm scp "$archive" "$TPU_NAME:neuroplastic.tar.gz" \
  --zone="$ZONE" --worker=all

bucket=${BUCKET#gs://} bucket=${bucket%/} mount=--implicit-dirs
if [[ "$bucket" == */* ]]; then
  mount+=" --only-dir=$(printf %q "${bucket#*/}")"
  bucket=${bucket%%/*}
fi

# uv brings a Python of its own: that of the hosts may be too old.
on_all_hosts "
  set -e
  mkdir -p neuroplastic runs && tar xzf neuroplastic.tar.gz -C neuroplastic
  mountpoint -q runs || gcsfuse $mount '$bucket' runs
  cd neuroplastic
  python3 -m pip install -q --user uv ||
    python3 -m pip install -q --user --break-system-packages uv
  test -d .venv || python3 -m uv venv -q --python '>=3.11' .venv
  python3 -m uv pip install -q --python .venv -e '.[experiments,tpu]'"

# JAX asks the metadata server who the other hosts are. Variables:
#   JAX_COMPILATION_CACHE_DIR  compiled programs, for when the job comes back
#   LIBTPU_INIT_ARGS           flags of the compiler for TPUs: collectives run
#                              beside the computation
#   TPU_STDERR_LOG_LEVEL       3: errors alone
arguments=
for argument; do arguments+=$(printf ' %q' "$argument"); done
on_all_hosts "
  cd neuroplastic
  export JAX_PLATFORMS=tpu TPU_STDERR_LOG_LEVEL=3
  export JAX_COMPILATION_CACHE_DIR=\$HOME/.jax_cache
  export LIBTPU_INIT_ARGS=--xla_enable_async_all_gather=true
  exec .venv/bin/python -m experiments.train --distributed \
    --workdir=\$HOME/runs/$TPU_NAME$arguments"
