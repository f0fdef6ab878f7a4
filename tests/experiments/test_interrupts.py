"""Ctrl-C, SIGTERM and SIGHUP end every program; a training saves first.

`test_resuming` and `test_session` hold what a training saves.
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


# By what is expected: a program, what it prints, and how it exits.
PROGRAMS = {
  'first signal is remembered and the second ends the process': (
    """
interrupts.end_at_once()
with interrupts.Stop() as stop:
  signal.raise_signal(signal.SIGHUP)
  print(stop.number, flush=True)
  signal.raise_signal(signal.SIGTERM)
  print('not here')
""",
    ('1\n', '', -signal.SIGTERM),
  ),
  'a signal after the last look ends the process': (
    """
interrupts.end_at_once()
with interrupts.Stop():
  signal.raise_signal(signal.SIGINT)
print('not here')
""",
    ('', '', -signal.SIGINT),
  ),
  'ignored signals stay ignored': (
    """
numbers = signal.SIGINT, signal.SIGHUP
for number in numbers:
  signal.signal(number, signal.SIG_IGN)
interrupts.end_at_once()
with interrupts.Stop() as stop:
  for number in numbers:
    signal.raise_signal(number)
  print(stop.number)
""",
    ('0\n', '', 0),
  ),
  'JAX does not take SIGTERM for itself': (
    """
from experiments.training import distributed
distributed.initialize(
  enabled=True, coordinator_address='localhost:PORT', num_processes=1,
  process_id=0,
)
with interrupts.Stop() as stop:
  signal.raise_signal(signal.SIGTERM)
  print(stop.number, flush=True)
  signal.raise_signal(signal.SIGTERM)
  time.sleep(1)
""",
    ('15\n', None, -signal.SIGTERM),
  ),
}


@pytest.mark.parametrize(
  ('code', 'expected'), PROGRAMS.values(), ids=[*PROGRAMS]
)
def test_program_with_signals(code, expected):
  code = code.replace('PORT', str(program.free_port()))
  imports = 'import signal, time\nfrom experiments import interrupts\n'
  done = subprocess.run(
    [*HEEDED, '-c', imports + code],
    capture_output=True,
    text=True,
    check=False,
  )
  found = done.stdout, done.stderr, done.returncode
  for each, wanted in zip(found, expected, strict=True):
    assert each == wanted or wanted is None, found


def test_handlers_are_restored_and_an_error_is_not_replaced():
  def fail():
    with interrupts.Stop():
      signal.raise_signal(signal.SIGTERM)
      raise KeyError

  before = [signal.getsignal(number) for number in interrupts.SIGNALS]
  with pytest.raises(KeyError):
    fail()
  assert [signal.getsignal(x) for x in interrupts.SIGNALS] == before


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
