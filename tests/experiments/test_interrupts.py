"""Ctrl-C, SIGTERM and SIGHUP end every program; a training saves first.

`test_train` and `test_session` hold what a training saves.
"""

import os
import pathlib
import signal
import subprocess
import sys
import time

import pytest

from experiments import interrupts
from tests.experiments import program

ROOT = pathlib.Path(__file__).parents[2]
# A shell has what it runs in the background ignore Ctrl-C, `nohup` SIGHUP.
HEEDED = ['env', '--default-signal=INT,TERM,HUP', sys.executable]
BEGIN = """
import os, signal, time
from experiments import interrupts
interrupts.end_at_once()
"""


def python(code, **options):
  return subprocess.run(
    [*HEEDED, '-c', code],
    capture_output=True,
    text=True,
    check=False,
    **options,
  )


@pytest.mark.parametrize('number', interrupts.SIGNALS)
def test_a_signal_during_imports_ends_the_program_without_a_word(
  tmp_path, number
):
  with subprocess.Popen(
    [*HEEDED, '-m', 'experiments.train'],
    cwd=tmp_path,
    env=os.environ | {'PYTHONPATH': str(ROOT)},
    stdout=subprocess.PIPE,
    stderr=subprocess.PIPE,
  ) as process:
    loaded = pathlib.Path(f'/proc/{process.pid}/maps')
    while 'numpy' not in loaded.read_text():
      time.sleep(0.01)
    process.send_signal(number)
    assert process.communicate(timeout=60) == (b'', b'')
  assert process.returncode == -number


def test_the_first_signal_is_remembered_and_the_second_ends_the_process():
  done = python(
    BEGIN
    + """
with interrupts.Stop() as stop:
  signal.raise_signal(signal.SIGHUP)
  print(stop.number, flush=True)
  signal.raise_signal(signal.SIGTERM)
  print('not here')
"""
  )
  assert (done.stdout, done.stderr) == ('1\n', '')
  assert done.returncode == -signal.SIGTERM


def test_a_signal_after_the_last_look_ends_the_process():
  done = python(
    BEGIN
    + """
with interrupts.Stop():
  signal.raise_signal(signal.SIGINT)
print('not here')
"""
  )
  assert (done.stdout, done.stderr) == ('', '')
  assert done.returncode == -signal.SIGINT


def test_handlers_are_restored_and_an_error_is_not_replaced():
  def fail():
    with interrupts.Stop():
      signal.raise_signal(signal.SIGTERM)
      raise KeyError

  before = [signal.getsignal(number) for number in interrupts.SIGNALS]
  with pytest.raises(KeyError):
    fail()
  assert [signal.getsignal(x) for x in interrupts.SIGNALS] == before


def test_ignored_signals_stay_ignored():
  done = python(
    """
import signal
numbers = signal.SIGINT, signal.SIGHUP
for number in numbers:
  signal.signal(number, signal.SIG_IGN)
from experiments import interrupts
interrupts.end_at_once()
with interrupts.Stop() as stop:
  for number in numbers:
    signal.raise_signal(number)
  print(stop.number)
"""
  )
  assert (done.stdout, done.stderr, done.returncode) == ('0\n', '', 0)


def test_a_stopped_program_says_one_sentence_and_exits_with_128_plus_n():
  done = python(
    """
from experiments import interrupts, program
def main(_):
  raise interrupts.StoppedError(15, 'sgd, after epoch 1 of 3')
program.run(main)
"""
  )
  assert done.stderr == (
    'stopped and saved: sgd, after epoch 1 of 3. Run the same command to '
    'resume.\n'
  )
  assert (done.stdout, done.returncode) == ('', 143)


JOINED = """
import signal, time
from experiments import interrupts
from experiments.training import distributed

distributed.initialize(
  enabled=True, coordinator_address='localhost:{}', num_processes=1,
  process_id=0,
)
with interrupts.Stop() as stop:
  signal.raise_signal(signal.SIGTERM)
  print(stop.number, flush=True)
  signal.raise_signal(signal.SIGTERM)
  time.sleep(1)
"""


def test_jax_does_not_take_sigterm_for_itself():
  done = python(JOINED.format(program.free_port()))
  assert (done.stdout, done.returncode) == ('15\n', -signal.SIGTERM)


# A terminal sends Ctrl-C to all processes; those of --jobs start or work.
JOBS = """
import time
from experiments import interrupts
from experiments.studies import workers

interrupts.end_at_once()
if __name__ == '__main__':
  with workers.pool(2) as pool, interrupts.Stop() as stop:
    cells = [pool.submit(time.sleep, x) for x in (0, 60, 60)]
    if {}:
      cells[0].result()
    print('ready', flush=True)
    while not stop.number:
      time.sleep(0.01)
    raise SystemExit('stopped')
"""


@pytest.mark.slow
@pytest.mark.parametrize('at_work', [False, True])
def test_ctrl_c_ends_the_processes_of_a_study_without_a_word(tmp_path, at_work):
  (tmp_path / 'jobs.py').write_text(JOBS.format(at_work))
  with subprocess.Popen(
    [*HEEDED, 'jobs.py'],
    cwd=tmp_path,
    env=os.environ | {'PYTHONPATH': str(ROOT)},
    stdout=subprocess.PIPE,
    stderr=subprocess.PIPE,
    text=True,
    start_new_session=True,
  ) as process:
    assert process.stdout is not None
    process.stdout.readline()
    task = pathlib.Path(f'/proc/{process.pid}/task/{process.pid}/children')
    children = [int(pid) for pid in task.read_text().split()]
    os.killpg(process.pid, signal.SIGINT)
    assert process.communicate() == ('', 'stopped\n')
  program.wait_for_end(children)
