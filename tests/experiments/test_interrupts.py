"""A signal that asks a program to end is never lost."""

import os
import signal
import subprocess
import sys
import time

import pytest

from experiments.training import stopping
from tests.experiments import program


def python(code):
  return subprocess.run(
    [sys.executable, '-c', code], capture_output=True, text=True, check=False
  )


PROGRAM = """
import ctypes, gc, os, signal, sys, time, weakref
from experiments import interrupts

def ask(*_):
  gc.callbacks.clear()
  os.kill(os.getpid(), signal.SIGTERM)
  for _ in range(1000):
    pass  # Python raises what a signal asks for between two instructions.

class Mortal:
  pass

class Shy:
  __getattr__ = ask

interrupts.raise_them()
try:
  {}
  time.sleep(30)
except interrupts.Interrupt as e:
  interrupts.end_at_once()
  print(e.number)
"""
# One more, while Python reports the first.
TWICE = """
  def watch(frame, event, _):
    if frame.f_code.co_name == '_unraisable':
      sys.setprofile(None)
      ask()

  sys.setprofile(watch)
  """
SWALLOWED = {
  'collector': 'gc.callbacks.append(ask); gc.collect()',
  'reference': 'x = Mortal(); r = weakref.ref(x, ask); del x',
  'finalizer': 'Mortal.__del__ = ask; Mortal()',
  'C': 'ctypes.pythonapi.PyObject_HasAttrString(ctypes.py_object(Shy()), b"x")',
  'report': TWICE + 'Mortal.__del__ = ask; Mortal()',
}


@pytest.mark.parametrize('where', SWALLOWED.values(), ids=SWALLOWED)
def test_it_comes_also_where_exceptions_are_swallowed(where):
  done = python(PROGRAM.format(where))
  assert (done.stdout, done.stderr, done.returncode) == ('15\n', '', 0)


# Matplotlib's C++ does this to what is raised while it calls Python (3.11; the
# one of 3.10 crashes).
TAKEN_FOR_A_FAULT = """
import os, signal
# A shell has what it runs in the background ignore Ctrl-C.
signal.signal(signal.SIGINT, signal.default_int_handler)
from experiments import errors, program

def main(_):
  try:
    os.kill(os.getpid(), {})
    for _ in range(1000):
      pass
  except BaseException:
    raise {} from None

program.run(main)
"""
SAID = 'interrupted. Run the same command again.\n'


@pytest.mark.parametrize(
  'error', ['ValueError("box")', 'OSError(5, "box")', 'errors.StorageError("")']
)
@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM])
def test_it_is_not_taken_for_a_fault(number, error):
  done = python(TAKEN_FOR_A_FAULT.format(int(number), error))
  said = f'\n{SAID}' if number == signal.SIGINT else SAID
  assert (done.stdout, done.stderr) == ('', said)
  assert done.returncode == 128 + number


TO_ITS_END = """
import os, signal, sys
from experiments import program

def ask(*_):
  os.kill(os.getpid(), signal.SIGTERM)
  for _ in range(1000):
    pass

class Mortal:
  __del__ = ask

class Asking:
  def write(self, text):
    sys.__stderr__.write(text)
    ask()

  def flush(self):
    sys.__stderr__.flush()

program.run(lambda _: {})
"""


@pytest.mark.parametrize(
  ('ends', 'code', 'said'),
  [
    # Swallowed, and too late to come again.
    ('Mortal()', 0, ''),
    ('(Mortal(), ask())', 143, SAID),
    # One more, while it is said.
    ('(setattr(sys, "stderr", Asking()), ask())', 143, SAID),
  ],
)
def test_there_is_one_sentence_and_the_status_is_ours(ends, code, said):
  done = python(TO_ITS_END.format(ends))
  assert (done.stdout, done.stderr, done.returncode) == ('', said, code)


HEARD = """
import signal
from experiments import program

def main(_):
  print('more', end='')
  signal.raise_signal(signal.SIGTERM)

program.run(main)
"""


@pytest.mark.parametrize(
  ('streams', 'stdout', 'stderr'),
  [
    ('', 'more', SAID),
    ('>&-', '', SAID),
    ('>/dev/full', '', SAID),
    ('2>&-', 'more', ''),
    ('2>/dev/full', 'more', ''),
  ],
)
def test_the_status_is_ours_though_nobody_hears(streams, stdout, stderr):
  done = subprocess.run(
    ['sh', '-c', f'exec "$0" -c "$1" {streams}', sys.executable, HEARD],
    env=os.environ | {'PYTHONUNBUFFERED': ''},
    capture_output=True,
    text=True,
    check=False,
  )
  assert (done.stdout, done.stderr, done.returncode) == (stdout, stderr, 143)


LAST = """
from experiments import interrupts

interrupts.begin()
import os

class Mortal:
  def __del__(self, kill=os.kill, pid=os.getpid()):
    kill(pid, 15)

mortal = Mortal()
"""


def test_it_changes_nothing_while_python_finalizes():
  done = python(LAST)
  assert (done.stdout, done.stderr, done.returncode) == ('', '', 0)


def test_a_run_leaves_ignored_what_was_ignored():
  before = signal.signal(signal.SIGINT, signal.SIG_IGN)
  try:
    with stopping.Terminator() as terminator:
      signal.raise_signal(signal.SIGINT)
    assert terminator.requested == 0
  finally:
    signal.signal(signal.SIGINT, before)


# Those of --jobs, as they start and at work.
PROCESSES = """
import signal, time
signal.signal(signal.SIGINT, signal.default_int_handler)
from experiments import program
from experiments.studies import workers

def main(_):
  with workers.pool(2) as pool:
    cells = [pool.submit(time.sleep, x) for x in (0, 60, 60)]
    if {}:
      cells[0].result()
    print('ready', flush=True)
    cells[-1].result()

program.run(main)
"""


@pytest.mark.slow
@pytest.mark.parametrize('at_work', [False, True])
def test_two_for_all_processes_make_one_sentence(at_work):
  with subprocess.Popen(
    [sys.executable, '-c', PROCESSES.format(at_work)],
    stdout=subprocess.PIPE,
    stderr=subprocess.PIPE,
    text=True,
    start_new_session=True,
  ) as process:
    assert process.stdout is not None
    process.stdout.readline()
    for _ in range(2):
      os.killpg(process.pid, signal.SIGINT)
      time.sleep(0.005)
    assert process.communicate() == ('', f'\n{SAID}')
  assert process.returncode == 130


JOINED = """
import signal, time
from experiments import program
from experiments.training import distributed

def main(_):
  distributed.initialize(
    enabled=True, coordinator_address='localhost:{}', num_processes=1,
    process_id=0,
  )
  signal.raise_signal(signal.SIGTERM)
  time.sleep(1)

program.run(main)
"""


def test_jax_does_not_take_it_for_its_own():
  done = python(JOINED.format(program.free_port()))
  assert (done.stdout, done.stderr, done.returncode) == ('', SAID, 143)


# JAX crashes if Python finalizes while it compiles.
COMPILING = """
import signal
import jax
import jax.numpy as jnp
from experiments import program

def slow(x):
  for _ in range(300):
    x = jnp.sort(jnp.sin(x) @ x)
  return x

def main(_):
  lowered = jax.jit(slow).lower(jnp.ones((8, 8)))
  signal.signal(signal.SIGALRM, lambda *_: signal.raise_signal(signal.SIGTERM))
  signal.setitimer(signal.ITIMER_REAL, 0.1)
  lowered.compile()

program.run(main)
"""


def test_it_ends_a_compilation():
  done = python(COMPILING)
  assert (done.stdout, done.stderr, done.returncode) == ('', SAID, 143)


def test_other_errors_are_reported_as_ever():
  program = PROGRAM.format('Mortal.__del__ = lambda x: 1 / 0; Mortal(); raise')
  done = python(program)
  assert 'Exception ignored' in done.stderr
  assert 'ZeroDivisionError' in done.stderr
