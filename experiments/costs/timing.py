"""Times of compiled programs, measured in turn, and the machine."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
import platform
import statistics
import time
from typing import Any

import jax
import optax

_MIN_ROUNDS = 5


class Step:
  """A compiled program that is called again and again on its own results.

  It knows the seconds of tracing and compilation, the bytes that are accessed,
  as XLA counts them (None if unknown), and those of the optimizer's state.
  """

  def __init__(
    self,
    function: Callable[..., Any],
    carry: Any,
    constants: Sequence[Any],
    opt_state: Any,
  ) -> None:
    self.state_bytes = sum(leaf.nbytes for leaf in jax.tree.leaves(opt_state))
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
  """Times of all, measured in turn: by name, one for each round.

  After so many seconds no further round begins. The first round, of cold
  caches, is left out.
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


def ratio(some: Sequence[float], others: Sequence[float]) -> float:
  """The median over rounds of the ratio within a round."""
  return statistics.median(
    mine / other for mine, other in zip(some, others, strict=True)
  )


def allocator() -> str:
  """The allocator of this process, as far as can be seen."""
  maps = Path('/proc/self/maps')
  loaded = maps.read_text() if maps.exists() else ''
  for name in ('tcmalloc', 'jemalloc', 'mimalloc'):
    if f'/lib{name}' in loaded:
      return name
  return 'the system'


def machine() -> str:
  """The device and the versions, in a line."""
  device = jax.devices()[0]
  return (
    f'{jax.device_count()} × {device.device_kind}, {platform.machine()}, jax '
    f'{jax.__version__}, optax {optax.__version__}, memory from {allocator()}'
  )
