"""Keyword arguments by names that people bring from elsewhere."""

from collections.abc import Callable
import functools
import inspect
from typing import Any, TypeVar

_F = TypeVar('_F', bound=Callable[..., Any])

_ADVICE = {
  'lr': 'did you mean learning_rate?',
  'learning_rate': (
    'chain optax.scale_by_learning_rate after it, or use '
    'neuroplastic_optimizer.'
  ),
  'b1': 'did you mean memory_b1, or base=optax.scale_by_adam(b1=...)?',
  'b2': 'did you mean memory_b2, or base=optax.scale_by_adam(b2=...)?',
  'kappa': 'did you mean plasticity_scale?',
  'mask': 'did you mean weight_decay_mask?',
}


def suggests_names(function: _F) -> _F:
  """Decorates a function, so that its errors suggest a name."""
  names = inspect.signature(function).parameters

  @functools.wraps(function)
  def wrapper(*args: Any, **kwargs: Any) -> Any:
    for keyword in kwargs:
      if keyword in _ADVICE and keyword not in names:
        raise TypeError(
          f'{function.__name__}() got an unexpected keyword argument '
          f'{keyword!r}: {_ADVICE[keyword]}'
        )
    return function(*args, **kwargs)

  return wrapper  # type: ignore[return-value]
