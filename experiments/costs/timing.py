"""Times of compiled programs, measured in turn; and on what."""

from collections.abc import Callable, Mapping, Sequence
import dataclasses
from pathlib import Path
import platform
import statistics
import time
from typing import Any

import jax
import optax

from experiments.optimizers.rivals import REFERENCE

_MIN_ROUNDS = 5


@dataclasses.dataclass
class Row:
  """What was measured of one optimizer.

  Attributes:
    name: of the optimizer.
    seconds: median wall time of a step.
    ratio: median over rounds of its time to the reference's.
    state_bytes: of the optimizer's state.
    bytes_accessed: by the compiled step, as XLA counts them; None if unknown.
    compile_seconds: tracing and compilation.
  """

  name: str
  seconds: float
  ratio: float
  state_bytes: int
  bytes_accessed: float | None
  compile_seconds: float


@dataclasses.dataclass
class CompileRow:
  """How long the update of one optimizer takes to compile.

  Attributes:
    name: of the optimizer.
    seconds: by the number of leaves, of tracing and compilation.
  """

  name: str
  seconds: dict[int, float]


@dataclasses.dataclass
class LoopRow:
  """What was measured of a model's training step, alone and in a loop.

  Attributes:
    name: of the model.
    alone_seconds: median wall time of a step that is a program of its own.
    loop_seconds: the same of a step within a compiled epoch.
    ratio: median over rounds of the second to the first.
  """

  name: str
  alone_seconds: float
  loop_seconds: float
  ratio: float


@dataclasses.dataclass
class StreamRow:
  """What was measured of a stream, beside ordinary training.

  Attributes:
    name: of the stream.
    updates: of a task.
    plain_seconds: median wall time of as many updates of ordinary training.
    stream_seconds: of a task, without its measures.
    measured_seconds: of a task, with all of them.
    ratio: median over rounds of the second to the first.
    measures_ratio: median over rounds of the third to the second.
  """

  name: str
  updates: int
  plain_seconds: float
  stream_seconds: float
  measured_seconds: float
  ratio: float
  measures_ratio: float


class Step:
  """A compiled program that is called again and again on its own results."""

  def __init__(
    self, function: Callable[..., Any], carry: Any, constants: Sequence[Any]
  ) -> None:
    self._carry = carry
    self._constants = constants
    start = time.perf_counter()
    self._compiled = (
      jax.jit(function, donate_argnums=0).lower(carry, *constants).compile()
    )
    self.compile_seconds = time.perf_counter() - start
    cost = self._compiled.cost_analysis() or {}
    self.bytes_accessed = cost.get('bytes accessed')

  def __call__(self) -> float:
    """Runs it, and gives the seconds that it took."""
    start = time.perf_counter()
    self._carry = self._compiled(self._carry, *self._constants)
    jax.block_until_ready(self._carry)
    return time.perf_counter() - start


def interleaved(
  steps: Mapping[str, Callable[[], float]], seconds: float, rounds: int
) -> dict[str, list[float]]:
  """Times of all, measured in turn.

  Args:
    steps: by name, what runs a step and gives its seconds.
    seconds: after which no further round begins.
    rounds: at most.

  Returns:
    By name, a time for each round; the first round, of cold caches, is left
    out.
  """
  times: dict[str, list[float]] = {name: [] for name in steps}
  for step in steps.values():
    step()
  start = time.perf_counter()
  for done in range(rounds):
    if done >= _MIN_ROUNDS and time.perf_counter() - start > seconds:
      break
    for name, step in steps.items():
      times[name].append(step())
  return times


def rows(
  steps: Mapping[str, Step],
  state_bytes: Mapping[str, int],
  seconds: float,
  rounds: int,
) -> list[Row]:
  """Measures some programs, the reference's among them, in turn.

  Args:
    steps: by optimizer, its program.
    state_bytes: by optimizer, of its state.
    seconds: after which no further round begins.
    rounds: at most.

  Returns:
    A row for each of them.
  """
  times = interleaved(steps, seconds, rounds)
  return [
    Row(
      name=name,
      seconds=statistics.median(times[name]),
      ratio=_ratio(times[name], times[REFERENCE]),
      state_bytes=state_bytes[name],
      bytes_accessed=step.bytes_accessed,
      compile_seconds=step.compile_seconds,
    )
    for name, step in steps.items()
  ]


def _ratio(some: Sequence[float], others: Sequence[float]) -> float:
  """The median over rounds of the ratio within a round."""
  return statistics.median(
    mine / other for mine, other in zip(some, others, strict=True)
  )


def loop_row(
  name: str, alone: Sequence[float], looped: Sequence[float], steps: int
) -> LoopRow:
  """A row from the times of steps alone, and of loops of so many steps."""
  in_loop = [seconds / steps for seconds in looped]
  return LoopRow(
    name=name,
    alone_seconds=statistics.median(alone),
    loop_seconds=statistics.median(in_loop),
    ratio=_ratio(in_loop, alone),
  )


def stream_row(
  name: str,
  updates: int,
  plain: Sequence[float],
  stream: Sequence[float],
  measured: Sequence[float],
) -> StreamRow:
  """A row from the times of ordinary training, and of tasks of a stream."""
  return StreamRow(
    name=name,
    updates=updates,
    plain_seconds=statistics.median(plain),
    stream_seconds=statistics.median(stream),
    measured_seconds=statistics.median(measured),
    ratio=_ratio(stream, plain),
    measures_ratio=_ratio(measured, stream),
  )


def allocator() -> str:
  """What allocates the memory of this process, as far as can be seen."""
  maps = Path('/proc/self/maps')
  loaded = maps.read_text() if maps.exists() else ''
  for name in ('tcmalloc', 'jemalloc', 'mimalloc'):
    if f'/lib{name}' in loaded:
      return name
  return 'the system'


def machine() -> str:
  """What is measured on, in a line."""
  device = jax.devices()[0]
  return (
    f'{jax.device_count()} × {device.device_kind}, {platform.machine()}, jax '
    f'{jax.__version__}, optax {optax.__version__}, memory from {allocator()}'
  )
