"""The launch scripts, with stand-ins for `srun` and `gcloud`.

That for `srun` starts the processes with the variables that Slurm sets; that
for `gcloud` writes the command lines of the hosts to a file.
"""

import json
import os
import pathlib
import subprocess
import sys

import pytest

from tests.experiments import program

ROOT = pathlib.Path(__file__).parents[2]
LAUNCH = ROOT / 'experiments' / 'launch'
SRUN = """#!/bin/bash
[ "$1 $2" = '--gpu-bind=none --kill-on-bad-exit=1' ] || exit 9
[ "$SRUN_CPUS_PER_TASK" = 3 ] || exit 9
shift 2
for rank in 1 0; do
  SLURM_PROCID=$rank SLURM_LOCALID=$rank "$@" >"rank$rank" 2>&1 &
done
wait -n && wait -n
"""
GCLOUD = """#!/bin/bash
for argument; do
  case $argument in --command=*) echo "${argument#--command=}" >>hosts ;; esac
done
printf '%s\\n' "$*" | head -1 >>calls
"""


def _tool(folder, name, text):
  path = folder / 'bin' / name
  path.parent.mkdir(exist_ok=True)
  path.write_text(text)
  path.chmod(0o755)


def _launch(folder, script, *flags, **variables):
  path = f'{folder / "bin"}{os.pathsep}{os.environ["PATH"]}'
  return subprocess.run(
    [LAUNCH / script, *flags],
    cwd=folder,
    env=os.environ | variables | {'PATH': path},
    capture_output=True,
    text=True,
    check=False,
  )


def _python(folder, text):
  """Writes the script that stands in for the virtual environment's Python."""
  _tool(folder, 'python', f'#!/bin/bash\n{text}\n')
  (folder / '.venv').symlink_to(folder)


@pytest.mark.slow
def test_slurm_starts_processes_that_find_each_other(tmp_path):
  _tool(tmp_path, 'srun', SRUN)
  _python(tmp_path, f'exec {sys.executable} "$@"')
  result = _launch(
    tmp_path,
    'slurm_gpu.sh',
    *(*program.TINY, '--workdir=a run'),
    PYTHONPATH=str(ROOT),
    # XLA for CPUs does not know the flags of the one for GPUs; they come first.
    XLA_FLAGS='--xla_force_host_platform_device_count=1',
    SLURM_SUBMIT_DIR=str(tmp_path),
    SLURM_JOB_ID=str(os.getpid()),
    SLURM_STEP_NODELIST='localhost',
    SLURM_NTASKS='2',
    SLURM_CPUS_PER_TASK='3',
    SLURM_STEP_NUM_NODES='1',
  )
  said = [(tmp_path / f'rank{rank}').read_text() for rank in (0, 1)]
  assert result.returncode == 0, said
  assert 'epoch 3/3' in said[0]
  assert 'epoch' not in said[1]
  results = json.loads((tmp_path / 'a run' / 'results.json').read_text())
  assert results['sgd']['status'] == 'finished'


@pytest.mark.parametrize(
  ('bucket', 'mounted', 'arguments'),
  [
    ('gs://my-bucket', "'my-bucket'", ()),
    ('gs://my-bucket/', "'my-bucket'", ('--config.dataset=fashion_mnist',)),
    (
      'gs://my-bucket/some/runs/',
      "--only-dir=some/runs 'my-bucket'",
      ("--config.arms=('full', 'adam')",),
    ),
  ],
)
def test_tpu_pod_runs_the_same_command_on_all_hosts(
  tmp_path, bucket, mounted, arguments
):
  _tool(tmp_path, 'gcloud', GCLOUD)
  # The script changes to the checkout; its gcloud is to write here.
  environment = tmp_path / 'environment'
  environment.write_text(
    f'gcloud() {{ (cd {tmp_path} && command gcloud "$@"); }}\n'
  )
  result = _launch(
    tmp_path,
    'tpu_pod.sh',
    *arguments,
    TPU_NAME='slice',
    ZONE='us-west4-a',
    BUCKET=bucket,
    BASH_ENV=str(environment),
  )
  assert result.returncode == 0, result.stderr
  calls = (tmp_path / 'calls').read_text().splitlines()
  assert len(calls) == 3
  for call in calls:
    for argument in ('slice', '--zone=us-west4-a', '--worker=all'):
      assert argument in call
  commands = (tmp_path / 'hosts').read_text()
  checked = subprocess.run(
    ['bash', '-n'], input=commands, text=True, capture_output=True, check=False
  )
  assert (checked.returncode, checked.stderr) == (0, '')
  assert f'gcsfuse --implicit-dirs {mounted} runs' in commands
  # The command that is started, with its arguments as they were given.
  line = commands[commands.index('exec ') :].replace('exec ', 'printf "%s\\n" ')
  words = subprocess.run(
    ['bash', '-c', line], text=True, capture_output=True, check=True
  ).stdout.splitlines()
  assert words[:4] == [
    *('.venv/bin/python', '-m', 'experiments.train', '--distributed'),
  ]
  assert words[4].endswith('/runs/slice')
  assert words[5:] == list(arguments)


@pytest.mark.parametrize(
  ('array', 'shards'),
  [
    ((1, 2, 3), ['1/3', '2/3', '3/3']),
    ((0, 1), ['1/2', '2/2']),
    ((2, 6, 10), ['1/3', '2/3', '3/3']),
    ((7,), ['1/1']),
  ],
)
def test_a_job_array_runs_each_shard_of_a_study_once(tmp_path, array, shards):
  _python(tmp_path, 'printf "%s\\n" "$@"')
  calls = []
  for index in array:
    result = _launch(
      tmp_path,
      'slurm_study.sh',
      *('digits', '--workdir=a study'),
      SLURM_SUBMIT_DIR=str(tmp_path),
      SLURM_ARRAY_TASK_ID=str(index),
      SLURM_ARRAY_TASK_MIN=str(min(array)),
      SLURM_ARRAY_TASK_STEP=str(array[1] - array[0] if array[1:] else 1),
      SLURM_ARRAY_TASK_COUNT=str(len(array)),
    )
    assert result.returncode == 0, result.stderr
    calls.append(result.stdout.splitlines())
  assert calls == [
    ['-m', 'experiments.study', f'--shard={x}', 'digits', '--workdir=a study']
    for x in shards
  ]


@pytest.mark.parametrize(
  ('script', 'variables', 'message'),
  [
    ('slurm_gpu.sh', {}, 'SLURM_SUBMIT_DIR'),
    # JAX would not find GPUs that are of a task.
    ('slurm_gpu.sh', {'SLURM_GPUS_PER_TASK': '1'}, '--gpus-per-node'),
    ('slurm_study.sh', {}, '--array'),
    ('tpu_pod.sh', {}, 'TPU_NAME'),
  ],
)
def test_missing_and_wrong_variables_are_named(
  tmp_path, script, variables, message
):
  if variables:
    variables = variables | {'SLURM_SUBMIT_DIR': str(tmp_path)}
  result = _launch(tmp_path, script, **variables)
  assert result.returncode != 0
  assert message in result.stderr
