"""Keyword arguments that do not exist: the error names the one that was meant.

Signatures stay spelt out, since `optax.inject_hyperparams`, type checkers and
the API reference read them.
"""

from collections.abc import Callable, Iterable
import difflib
import functools
import inspect
from typing import Any, TypeVar

_F = TypeVar('_F', bound=Callable[..., Any])

# What the arguments are called in equations, and in other libraries.
_ALIASES = {
  'learning_rate': ('lr', 'eta', 'step_size', 'rate'),
  'memory_b1': ('beta1', 'beta_1'),
  'memory_b2': ('beta2', 'beta_2'),
  'activity_decay': ('rho',),
  'activity_weight': ('w_a',),
  'gradient_weight': ('w_g',),
  'memory_weight': ('w_m',),
  'plasticity_scale': ('kappa',),
  'weight_decay': ('wd', 'lambda_', 'l2'),
  'weight_decay_mask': ('mask',),
  'state_dtype': ('dtype', 'mu_dtype'),
  'eps': ('epsilon',),
  'base': ('inner', 'optimizer', 'tx'),
  'modulation': ('rule',),
  'max_update_norm': ('clip', 'max_norm', 'r'),
  'target_rms': ('tau',),
  'adaptation_rate': ('k', 'rate'),
  'target_rms_scale': ('c',),
  'gain': ('gamma',),
  'low': ('min', 'minimum'),
  'high': ('max', 'maximum'),
  'strength': ('s',),
  'max_ratio': ('r',),
  'scope': ('mask',),
  'match_gradient_norm': ('match', 'match_norm'),
  'name': ('phase',),
}

# What takes arguments: the functions and classes of this package.
_CALLABLES: list[Callable[..., Any]] = []


def suggests_names(function: _F) -> _F:
  """Decorates a function, so that its errors suggest a name."""
  names = arguments(function)
  register(function)

  @functools.wraps(function)
  def wrapper(*args: Any, **kwargs: Any) -> Any:
    check(f'{function.__name__}()', kwargs, names or ())
    return function(*args, **kwargs)

  return wrapper  # type: ignore[return-value]


def register(function: Callable[..., Any]) -> None:
  """Lets errors of other functions say that this one has an argument."""
  package, *_ = __name__.split('.')
  if function.__module__.split('.')[0] == package:
    _CALLABLES.append(function)


@functools.cache
def arguments(function: Callable[..., Any]) -> tuple[str, ...] | None:
  """The names of the arguments; None if it takes any keyword."""
  parameters = inspect.signature(function).parameters
  if any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
    return None
  return tuple(parameters)


def check(owner: str, given: Iterable[str], names: Iterable[str]) -> None:
  """Refuses keywords that are none of the names.

  Args:
    owner: what was called, for the message.
    given: the keywords it was called with.
    names: those it takes.

  Raises:
    TypeError: naming the first that is unknown, and what may have been meant.
  """
  names = tuple(names)
  for keyword in given:
    if keyword not in names:
      raise TypeError(
        f'{owner} got an unexpected keyword argument {keyword!r}: '
        f'{_advice(keyword, names)}'
      )


def _advice(keyword: str, names: tuple[str, ...]) -> str:
  """What may have been meant, as the end of a sentence."""
  key = keyword.lower()
  if meant := _synonyms(key, names) or _parts(key, names):
    return f'did you mean {_listed(map(repr, meant), "or")}?'
  if name := _elsewhere(key):
    owners = [f.__name__ for f in _CALLABLES if name in (arguments(f) or ())]
    return f'{name} is an argument of {_listed(owners, "and")}.'
  words = {word: name for name in names for word in (name, *_aliases(name))}
  if close := difflib.get_close_matches(key, words, n=1):
    return f'did you mean {words[close[0]]!r}?'
  return f'the arguments are {_listed(names, "and")}.'


def _aliases(name: str) -> tuple[str, ...]:
  return _ALIASES.get(name, ())


def _synonyms(key: str, names: Iterable[str]) -> list[str]:
  """The names that `key` is another word for, or is but for its case."""
  return [name for name in names if key in (name, *_aliases(name))]


def _parts(key: str, names: Iterable[str]) -> list[str]:
  """The names with words that begin as those of `key` do, in any order."""
  words = key.split('_')
  if min(map(len, words)) < 2:
    return []
  return [
    name
    for name in names
    if all(any(x.startswith(w) for x in name.split('_')) for w in words)
  ]


def _elsewhere(key: str) -> str | None:
  """The name that another function has for the argument, if one has."""
  found = (_synonyms(key, arguments(f) or ()) for f in _CALLABLES)
  return next((names[0] for names in found if names), None)


def _listed(words: Iterable[str], last: str) -> str:
  """`a, b and c`."""
  *rest, end = words
  return f'{", ".join(rest)} {last} {end}' if rest else end
