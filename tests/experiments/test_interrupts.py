"""A signal that asks a program to end is never lost."""

import signal
import subprocess
import sys

import pytest

PROGRAM = """
import gc, os, signal, sys, time, weakref
from experiments import interrupts

def ask(*_):
  gc.callbacks.clear()
  os.kill(os.getpid(), signal.SIGTERM)
  for _ in range(1000):
    pass  # Python raises what a signal asks for between two instructions.

class Mortal:
  pass

interrupts.raise_them()
try:
  {}
  time.sleep(30)
except interrupts.Interrupt as e:
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
  'report': TWICE + 'Mortal.__del__ = ask; Mortal()',
}


@pytest.mark.parametrize('where', SWALLOWED.values(), ids=SWALLOWED)
def test_it_comes_also_where_exceptions_are_swallowed(where):
  done = subprocess.run(
    [sys.executable, '-c', PROGRAM.format(where)],
    capture_output=True,
    text=True,
    check=False,
  )
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
  done = subprocess.run(
    [sys.executable, '-c', TAKEN_FOR_A_FAULT.format(int(number), error)],
    capture_output=True,
    text=True,
    check=False,
  )
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
    ('(setattr(sys, "stderr", Asking()), ask())', 143, SAID.strip()),
  ],
)
def test_there_is_one_sentence_and_the_status_is_ours(ends, code, said):
  done = subprocess.run(
    [sys.executable, '-c', TO_ITS_END.format(ends)],
    capture_output=True,
    text=True,
    check=False,
  )
  assert (done.stdout, done.stderr, done.returncode) == ('', said, code)


# JAX crashes when Python lets go of it meanwhile.
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
  done = subprocess.run(
    [sys.executable, '-c', COMPILING],
    capture_output=True,
    text=True,
    check=False,
  )
  assert (done.stdout, done.stderr, done.returncode) == ('', SAID, 143)


def test_other_errors_are_reported_as_ever():
  program = PROGRAM.format('Mortal.__del__ = lambda x: 1 / 0; Mortal(); raise')
  done = subprocess.run(
    [sys.executable, '-c', program],
    capture_output=True,
    text=True,
    check=False,
  )
  assert 'Exception ignored' in done.stderr
  assert 'ZeroDivisionError' in done.stderr
