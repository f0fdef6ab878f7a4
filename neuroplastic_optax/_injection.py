"""What a function meets that is given to `optax.inject_hyperparams`.

That wrapper takes every callable for a schedule and calls it with the update
count. A function of params or of paths then fails in its own body, with
whatever error it happens to make there, before any code of ours runs.

`inject_hyperparams` binds its arguments to the signature of what it wraps. So
this signature hands out such functions with a guard around them, which knows an
update count when it gets one. Otherwise a guarded function is as it was.
"""

from collections.abc import Callable
import functools
import inspect
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np

from neuroplastic_optax import _keywords

_F = TypeVar('_F', bound=Callable[..., Any])

# Arguments that may be functions, though not of the update count.
_FUNCTIONS = (
  'weight_decay_mask',
  'mask',
  'stacked_axes',
  'axis_name',
  'bound',
)

# Arguments that must be Python integers, though they look like numbers, and a
# seed, which may be larger than the integers of JAX.
_INTEGERS = (
  'diagnostics_every',
  'every',
  'period',
  'refresh',
  'samples',
  'key',
)


def guards_functions(function: _F) -> _F:
  """Decorates a function that makes a transformation."""
  signature = inspect.signature(function)
  guarded = _Signature(
    list(signature.parameters.values()),
    return_annotation=signature.return_annotation,
  )
  guarded.owner = _OWNERS.get(function.__name__, function.__name__)
  function.__signature__ = guarded  # type: ignore[attr-defined]
  return function


# Whose call an error shows instead: what users write.
_OWNERS = {'neuroplastic': 'neuroplastic_optimizer'}


class _Signature(inspect.Signature):
  """A signature that guards functions when arguments are bound to it.

  Attributes:
    owner: the name of the function whose signature this is.
  """

  owner: str

  # `functools.partial` makes its signature by this.
  def replace(self, **kwargs: Any) -> '_Signature':
    replaced = super().replace(**kwargs)
    replaced.owner = self.owner
    return replaced

  def bind(self, /, *args: Any, **kwargs: Any) -> inspect.BoundArguments:
    return self._guard(super().bind, args, kwargs)

  # `functools.partial` binds its own arguments by this.
  def bind_partial(
    self, /, *args: Any, **kwargs: Any
  ) -> inspect.BoundArguments:
    return self._guard(super().bind_partial, args, kwargs)

  def _guard(
    self, bind: Callable[..., Any], args: Any, kwargs: Any
  ) -> inspect.BoundArguments:
    _keywords.check('the optimizer', kwargs, self.parameters)
    bound = bind(*args, **kwargs)
    self._keep_static(bound)
    for name in _FUNCTIONS:
      if callable(value := bound.arguments.get(name)):
        bound.arguments[name] = _guarded(name, value, self._example(name))
    return bound

  def _example(self, name: str) -> str:
    """What else to do with an argument that is a function."""
    number = 'learning_rate'
    if self.owner != 'neuroplastic_optimizer':
      number = next((x for x in self.parameters if x != name), '')
    # Without another argument there is nothing to inject.
    return number and (
      f', or close over it, as in optax.inject_hyperparams(lambda {number}: '
      f'{self.owner}({number}, {name}=...))'
    )

  def _keep_static(self, bound: inspect.BoundArguments) -> None:
    """Hands an integer that must stay one as what no number is taken for.

    `inject_hyperparams` makes arrays of Python's integers, not of NumPy's.
    """
    for name in self.parameters.keys() & set(_INTEGERS):
      value = bound.arguments.get(name, self.parameters[name].default)
      if type(value) is int:
        bound.arguments[name] = np.int64(value)


def _guarded(
  name: str, function: Callable[..., Any], example: str
) -> Callable[..., Any]:
  """The function, but that it refuses an update count."""

  @functools.wraps(function, updated=())
  def guarded(*args: Any) -> Any:
    if len(args) == 1 and _is_count(args[0]):
      raise TypeError(
        f'{name} is a function, which optax.inject_hyperparams takes for a '
        f"schedule: pass static_args='{name}'{example}."
      )
    return function(*args)

  return guarded


def _is_count(x: Any) -> bool:
  return (
    isinstance(x, jax.Array)
    and x.ndim == 0
    and jnp.issubdtype(x.dtype, jnp.integer)
  )
