"""The types in signatures: those of Optax and JAX, by their own names.

Each is an alias for a union of a dozen types, some of them recursive. pdoc
expands aliases, warns of the recursive ones, and makes signatures that nobody
can read. So, while pdoc runs and at no other time, classes that have the names
of the aliases stand in for them.
"""

import sys
from typing import Any, TYPE_CHECKING

import jax
import optax

if TYPE_CHECKING or 'pdoc' not in sys.modules:
  ArrayLike = jax.typing.ArrayLike
  DTypeLike = jax.typing.DTypeLike
  OptState = optax.OptState
  Params = optax.Params
  Schedule = optax.Schedule
  ScalarOrSchedule = optax.ScalarOrSchedule
  Updates = optax.Updates
else:

  def _named(module: str, name: str) -> Any:
    return type(name, (), {'__module__': module})

  ArrayLike = _named('jax.typing', 'ArrayLike')
  DTypeLike = _named('jax.typing', 'DTypeLike')
  OptState = _named('optax', 'OptState')
  Params = _named('optax', 'Params')
  Schedule = _named('optax', 'Schedule')
  ScalarOrSchedule = _named('optax', 'ScalarOrSchedule')
  Updates = _named('optax', 'Updates')
