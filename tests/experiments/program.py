"""Runs programs of the experiments as processes of their own, to be killed.

A fork server imports what the program imports, before any JAX backend starts,
and every run is a fork of it: a real process with its own flags, folder,
output, devices and death, without the seconds that imports take.
"""

from collections.abc import Callable, Iterator
import contextlib
import dataclasses
import importlib
import io
import multiprocessing
import os
from pathlib import Path
import resource
import runpy
import signal
import socket
import subprocess
import sys
import time
from typing import Any
import unittest.mock

from absl import app
from absl.flags import FLAGS

from experiments import interrupts
from experiments.program import CONFIG

_CONTEXT = multiprocessing.get_context('forkserver')
# Not the program itself, which is run as the main module.
_CONTEXT.set_forkserver_preload(
  [
    'experiments.program',
    'experiments.reporting.console',
  ]
)

# The smallest of everything. The last batch is smaller than the other one.
TINY = (
  '--config.dataset=synthetic:4x4x1:3:20:10',
  '--config.arms=sgd,adam',
  '--config.epochs=3',
  '--config.batch_size=12',
  '--config.seeds=2',
)
# 2 tasks of 12 updates, evaluated twice.
STREAM = (
  '--config.dataset=synthetic:4x4x1:4:40:12',
  '--config.stream=split',
  '--config.tasks=2',
  '--config.updates=12',
  '--config.batch_size=8',
  '--config.model=mlp_small',
  '--config.arms=sgd,adam',
  '--config.seeds=2',
)
WORKDIR = '--workdir=my run'


def quick() -> dict[str, Any]:
  """Options that hurry the compiler, which takes most of the time."""
  from experiments.studies import computing  # Which imports JAX.

  return computing.quick()


@dataclasses.dataclass(frozen=True)
class Moment:
  """Just before a file is changed: the n-th such event that matches.

  Attributes:
    event: of Python's audit events; an 'open' counts if it is for writing.
    path: how the path ends.
    count: which one, from 1.
  """

  event: str
  path: str
  count: int = 1


@dataclasses.dataclass(frozen=True)
class Result:
  """How a run ended; the code after a signal is minus its number."""

  code: int
  stdout: str
  stderr: str


class Program:
  """A process that runs `python -m experiments.NAME` with some flags."""

  def __init__(
    self,
    folder: Path,
    *flags: str,
    name: str = 'train',
    devices: int = 1,
    optimized: bool = False,
    at: tuple[Moment, signal.Signals] | None = None,
    file_size: int | None = None,
  ) -> None:
    """Starts it.

    Args:
      folder: where it runs; its output goes to files beside.
      *flags: of the program.
      name: of the program.
      devices: how many devices JAX is to see.
      optimized: whether to compile as in earnest; it takes longer.
      at: a moment, and the signal that it then sends to itself.
      file_size: the largest file that it may write.
    """
    folder.mkdir(exist_ok=True)
    outputs = folder.with_name(f'{folder.name}.output')
    outputs.mkdir(exist_ok=True)
    index = len(list(outputs.iterdir()))
    self._files = [outputs / f'{index}.{i}' for i in (1, 2)]
    for file in self._files:
      file.touch()
    # Shared by the workers of pytest-xdist, which have folders of their own.
    shared = folder.parents[int('PYTEST_XDIST_WORKER' in os.environ)]
    compiled = shared / 'compiled'
    options = {
      **({} if optimized else quick()),
      'xla_force_host_platform_device_count': devices,
    }
    self._process = _CONTEXT.Process(
      target=_run,
      args=(
        *(name, flags, folder, self._files),
        *(compiled, options, at, file_size),
      ),
    )
    self._process.start()

  @property
  def stdout(self) -> str:
    """What it printed so far."""
    return self._files[0].read_text()

  def children(self) -> list[int]:
    """The processes that it has started and that are there."""
    task = Path(f'/proc/{self._process.pid}/task')
    lists = [path.read_text() for path in task.glob('*/children')]
    return [int(pid) for text in lists for pid in text.split()]

  def alive(self) -> bool:
    """Whether it has not ended."""
    return self._process.is_alive()

  def send(self, number: signal.Signals) -> None:
    """Sends it a signal."""
    os.kill(self._process.pid, number)

  def wait_until(self, condition: Callable[[], bool]) -> None:
    """Waits for something that it is going to do."""
    end = time.monotonic() + 120
    while not condition():
      assert self._process.is_alive(), self._files[1].read_text()
      assert time.monotonic() < end, self.stdout
      time.sleep(0.005)

  def wait(self) -> Result:
    """Waits for its end."""
    self._process.join(300)
    code = self._process.exitcode
    assert code is not None, self.stdout
    return Result(code, *(file.read_text() for file in self._files))

  def close(self) -> None:
    """Sees to it that nothing is left of it."""
    self._process.kill()
    self._process.join()
    self._process.close()


@contextlib.contextmanager
def started(folder: Path, *flags: str, **options: Any) -> Iterator[Program]:
  """Starts a program, which does not outlive the block; see `Program`."""
  with contextlib.closing(Program(folder, *flags, **options)) as process:
    yield process


def run(folder: Path, *flags: str, **options: Any) -> Result:
  """Starts a program and waits for its end; see `Program`."""
  with started(folder, *flags, **options) as process:
    return process.wait()


def contents(folder: Path) -> dict[str, bytes | None]:
  """By path, the files below a folder; None for folders and broken links."""
  return {
    str(each.relative_to(folder)): each.read_bytes() if each.is_file() else None
    for each in folder.rglob('*')
  }


def free_port() -> int:
  """A port of this machine that nobody listens to."""
  with socket.socket() as free:
    free.bind(('localhost', 0))
    return int(free.getsockname()[1])


def wait_for_end(processes: list[int]) -> None:
  """Waits until none of some processes is there."""
  end = time.monotonic() + 30
  while any(Path(f'/proc/{pid}').exists() for pid in processes):
    assert time.monotonic() < end
    time.sleep(0.05)


def inside(name: str, *flags: str) -> Result:
  """Runs a program in this process, which is quick; it must do no work.

  Signals are left as they are, and the flags are gone afterwards. An error
  other than an exit is passed on.
  """
  argv = [f'experiments.{name}', *flags]
  stdout, stderr = io.StringIO(), io.StringIO()
  with (
    fresh_flags(name),
    unittest.mock.patch.object(sys, 'argv', argv),
    unittest.mock.patch.object(interrupts, 'end_at_once'),
    unittest.mock.patch.dict(sys.modules),
    contextlib.redirect_stdout(stdout),
    contextlib.redirect_stderr(stderr),
  ):
    del sys.modules[argv[0]]  # It is the main module, as for a user.
    # Read into the module of an earlier file, one without get_config has its.
    sys.modules.pop(f'{CONFIG}_config', None)
    code: Any = 0
    try:
      runpy.run_module(argv[0], run_name='__main__')
    except SystemExit as e:
      code = e.code or 0
      if isinstance(code, str):  # As Python does.
        print(code, file=sys.stderr)
        code = 1
  return Result(code, stdout.getvalue(), stderr.getvalue())


@contextlib.contextmanager
def fresh_flags(name: str) -> Iterator[set[str]]:
  """Around what defines the flags of a program, which are gone afterwards.

  Args:
    name: of the program. Modules that it imports may have flags of their own.

  Yields:
    The flags that there are without those of the program.
  """
  importlib.import_module(f'experiments.{name}')
  app.define_help_flags()
  before = set(FLAGS)
  try:
    yield before
  finally:
    for flag in set(FLAGS) - before:
      delattr(FLAGS, flag)
    FLAGS.unparse_flags()


def module(name: str, *flags: str) -> subprocess.CompletedProcess[str]:
  """Runs another program, `python -m experiments.NAME`, from the checkout."""
  return subprocess.run(
    [sys.executable, '-m', f'experiments.{name}', *flags],
    cwd=Path(__file__).parents[2],
    capture_output=True,
    text=True,
    check=False,
  )


def _run(name, flags, folder, files, compiled, options, at, file_size):
  """What happens in the new process."""
  for stream, file in zip((sys.stdout, sys.stderr), files, strict=True):
    stream.flush()
    with file.open('a') as target:
      os.dup2(target.fileno(), stream.fileno())
  os.chdir(folder)
  for number in interrupts.SIGNALS:
    # A shell has what it runs in the background ignore some of them.
    signal.signal(number, signal.SIG_DFL)
  os.environ['XLA_FLAGS'] = ' '.join(f'--{k}={v}' for k, v in options.items())
  import jax

  # The same programs are compiled again and again.
  jax.config.update('jax_compilation_cache_dir', str(compiled))
  jax.config.update('jax_persistent_cache_min_compile_time_secs', 0.0)
  if file_size:
    jax.config.update('jax_enable_compilation_cache', False)
    resource.setrlimit(resource.RLIMIT_FSIZE, (file_size, file_size))
  if at:
    _send_at(*at)
  sys.argv = [f'experiments.{name}', *flags]
  runpy.run_module(f'experiments.{name}', run_name='__main__', alter_sys=True)


def _send_at(moment: Moment, number: signal.Signals) -> None:
  """Has this process send itself a signal at a moment."""
  left = moment.count

  def hook(event: str, arguments: tuple[Any, ...]) -> None:
    nonlocal left
    if event != moment.event or not str(arguments[0]).endswith(moment.path):
      return
    if event == 'open' and not arguments[2] & (os.O_WRONLY | os.O_RDWR):
      return
    left -= 1
    if left == 0:
      os.kill(os.getpid(), number)

  sys.addaudithook(hook)
