"""Runs `experiments.train` as processes of their own that can be killed.

A fork server imports the program once, before any JAX backend starts, and every
run is a fork of it: a real process with its own flags, folder, output, devices
and death, without the seconds that an import takes.
"""

from collections.abc import Callable, Iterator
import contextlib
import dataclasses
import multiprocessing
import os
from pathlib import Path
import runpy
import signal
import sys
import time

_CONTEXT = multiprocessing.get_context('forkserver')
_CONTEXT.set_forkserver_preload(
  # All that the program imports, and not itself: it defines flags.
  [
    *('absl.app', 'ml_collections.config_flags', 'experiments.checkpoints'),
    *('experiments.engine', 'experiments.events', 'experiments.figures'),
    *('experiments.settings', 'experiments.terminal'),
  ]
)

# A data set and a model so small that compilation is all that takes time. The
# last batch of an epoch is smaller than the others.
TINY = (
  '--config.dataset=synthetic:8x8x1:3:64:32',
  '--config.arms=sgd,adam',
  '--config.epochs=3',
  '--config.batch_size=24',
  '--config.seeds=2',
)

# Of Python's audit events, those that change files.
_CHANGES = ('open', 'os.mkdir', 'os.rename', 'os.remove', 'os.rmdir')


@dataclasses.dataclass(frozen=True)
class Moment:
  """Just before a file is changed: the n-th such event that matches.

  Attributes:
    event: one of `_CHANGES`; 'open' only where it is for writing.
    path: how the path ends.
    count: which one.
  """

  event: str
  path: str
  count: int = 1


@dataclasses.dataclass(frozen=True)
class Result:
  """How a run ended.

  Attributes:
    code: the exit code, or minus the signal.
    stdout: what it printed.
    stderr: what it complained of.
  """

  code: int
  stdout: str
  stderr: str


class Program:
  """A process that runs `python -m experiments.train` with some flags."""

  def __init__(
    self,
    folder: Path,
    *flags: str,
    cwd: Path | None = None,
    devices: int = 1,
    at: tuple[Moment, signal.Signals] | None = None,
  ) -> None:
    """Starts it.

    Args:
      folder: where its output goes.
      *flags: of the program.
      cwd: where it runs; `folder` if not given.
      devices: how many devices JAX is to see.
      at: a moment, and the signal that it then sends to itself.
    """
    index = sum(1 for _ in folder.glob('*.stdout'))
    self._files = [folder / f'{index}.{name}' for name in ('stdout', 'stderr')]
    for file in self._files:
      file.touch()
    self._process = _CONTEXT.Process(
      target=_run, args=(flags, cwd or folder, self._files, devices, at)
    )
    self._process.start()

  @property
  def stdout(self) -> str:
    """What it printed so far."""
    return self._files[0].read_text()

  def send(self, number: signal.Signals) -> None:
    """Sends it a signal."""
    os.kill(self._process.pid, number)

  def wait_until(
    self, condition: Callable[[], bool], timeout: float = 120
  ) -> None:
    """Waits for something that it is going to do."""
    end = time.monotonic() + timeout
    while not condition():
      assert self._process.is_alive(), self._files[1].read_text()
      assert time.monotonic() < end, self.stdout
      time.sleep(0.005)

  def wait(self, timeout: float = 240) -> Result:
    """Waits for its end."""
    self._process.join(timeout)
    code = self._process.exitcode
    assert code is not None, self.stdout
    return Result(code, *(file.read_text() for file in self._files))

  def close(self) -> None:
    """Sees to it that nothing is left of it."""
    self._process.kill()
    self._process.join()
    self._process.close()


@contextlib.contextmanager
def started(folder: Path, *flags: str, **options: object) -> Iterator[Program]:
  """Starts a program, which does not outlive the block; see `Program`."""
  with contextlib.closing(Program(folder, *flags, **options)) as process:
    yield process


def run(folder: Path, *flags: str, **options: object) -> Result:
  """Starts a program and waits for its end; see `Program`."""
  with started(folder, *flags, **options) as process:
    return process.wait()


def _run(flags, cwd, files, devices, at):
  """What happens in the new process."""
  for stream, file in zip((sys.stdout, sys.stderr), files, strict=True):
    stream.flush()
    with file.open('a') as target:
      os.dup2(target.fileno(), stream.fileno())
  os.chdir(cwd)
  os.environ['XLA_FLAGS'] = f'--xla_force_host_platform_device_count={devices}'
  if at:
    _signal_at(*at)
  sys.argv = ['experiments.train', *flags]
  runpy.run_module('experiments.train', run_name='__main__', alter_sys=True)


def _signal_at(moment: Moment, number: signal.Signals) -> None:
  """Has this process send itself a signal at a moment."""
  left = moment.count

  def hook(event, arguments):
    nonlocal left
    if event != moment.event or event not in _CHANGES:
      return
    if not str(arguments[0]).endswith(moment.path):
      return
    if event == 'open' and not arguments[2] & (os.O_WRONLY | os.O_RDWR):
      return
    left -= 1
    if not left:
      os.kill(os.getpid(), number)

  sys.addaudithook(hook)
