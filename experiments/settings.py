"""The settings of a run: what a configuration means, checked before any work.

`experiments.configs` holds configurations as users write them; here they become
one frozen object with every default filled in.
"""

import ast
from collections.abc import Collection, Iterable, Mapping, Sequence
import dataclasses
import math
from typing import Any

import jax

from experiments import datasets
from experiments import models
from experiments import optimizers

_DEFAULTS: Mapping[str, Mapping[str, Any]] = {
  # As published, but for the digits: small, so more and smaller steps.
  'digits': dict(model='mlp', epochs=20, batch_size=32),
  'cifar10': dict(model='resnet18', epochs=10, batch_size=128),
  '': dict(model='mlp', epochs=10, batch_size=128),
}


@dataclasses.dataclass(frozen=True)
class Settings:
  """A run, in full; the fields are those of `experiments.configs.default`."""

  dataset: str
  fraction: float
  label_noise: float
  model: str
  arms: tuple[str, ...]
  learning_rate: tuple[float, ...]  # One per arm.
  schedule: str
  plasticity_scale: float
  warmup_epochs: int
  weight_decay: float
  epochs: int
  batch_size: int
  seeds: int
  seed: int
  lanes: int  # 0 for all at once.
  checkpoint_every: int
  tensorboard: bool
  diagnostics: bool

  @property
  def seed_list(self) -> list[int]:
    """The seeds."""
    return list(range(self.seed, self.seed + self.seeds))

  @property
  def rates(self) -> dict[str, float]:
    """The learning rate of each arm."""
    return dict(zip(self.arms, self.learning_rate, strict=True))


def refuse_unknown(config: Iterable[str], known: Collection[str]) -> None:
  """Raises a ValueError if a field of a configuration is not a known one."""
  for name in config:
    if name not in known:
      raise ValueError(
        f'config.{name} is not a setting; there are {", ".join(sorted(known))}.'
      )


def resolve(config: Mapping[str, Any]) -> Settings:
  """Fills in defaults and checks every field.

  Args:
    config: the fields of `experiments.configs.default`.

  Returns:
    The settings.

  Raises:
    ValueError: naming the field, its value and what is allowed.
  """
  config = dict(config)
  known = {field.name for field in dataclasses.fields(Settings)}
  refuse_unknown(config, known)
  if missing := sorted(known - config.keys()):
    raise ValueError(
      f'config.{missing[0]} is missing; start from the get_config of '
      'experiments.configs.default.'
    )
  name = str(config['dataset'])
  choice('dataset', name.partition(':')[0], datasets.NAMES)
  for field, default in (_DEFAULTS.get(name) or _DEFAULTS['']).items():
    if config[field] is None:
      config[field] = default
  arms = names('arms', config['arms'])
  for arm in arms:
    choice('arms', arm, tuple(optimizers.ARMS))
  config['arms'] = arms
  config['learning_rate'] = _rates(config['learning_rate'], arms)
  choice('model', config['model'], tuple(models.MODELS))
  choice('schedule', config['schedule'], optimizers.SCHEDULES)
  _number('fraction', config['fraction'], 0, 1, low_open=True)
  _number('label_noise', config['label_noise'], 0, 1, high_open=True)
  for field in ('plasticity_scale', 'weight_decay'):
    _number(field, config[field], 0, math.inf, high_open=True)
  for field, low in dict(
    warmup_epochs=0,
    epochs=1,
    batch_size=1,
    seeds=1,
    seed=0,
    lanes=0,
    checkpoint_every=1,
  ).items():
    integer(field, config[field], low)
  for field in ('tensorboard', 'diagnostics'):
    if not isinstance(config[field], bool):
      raise ValueError(
        f'config.{field} must be True or False, got {config[field]!r}.'
      )
  if config['seed'] + config['seeds'] > 2**32:
    raise ValueError(
      'config.seed + config.seeds must be at most 2³², got '
      f'{config["seed"]} + {config["seeds"]}.'
    )
  if not config['lanes'] and jax.default_backend() == 'cpu':
    config['lanes'] = 1
  return Settings(**config)


def integer(field: str, value: Any, low: int) -> None:
  """Refuses what is no integer ≥ `low`, by the field's name."""
  if type(value) is not int or value < low:
    raise ValueError(
      f'config.{field} must be an integer ≥ {low}, got {value!r}.'
    )


def choice(field: str, value: Any, allowed: Sequence[str]) -> None:
  """Refuses what is none of those, by the field's name."""
  if value not in allowed:
    raise ValueError(
      f'config.{field} must be one of {", ".join(allowed)}, got {value!r}.'
    )


def _number(
  field: str,
  value: Any,
  low: float,
  high: float,
  *,
  low_open: bool = False,
  high_open: bool = False,
) -> None:
  is_number = isinstance(value, int | float) and not isinstance(value, bool)
  number = value if is_number else math.nan
  above = number > low if low_open else number >= low
  below = number < high if high_open else number <= high
  if not (above and below):
    interval = f'{"(" if low_open else "["}{low:g}, {high:g}'
    interval += ')' if high_open else ']'
    raise ValueError(
      f'config.{field} must be a number in {interval}, got {value!r}.'
    )


def _sequence(value: Any) -> list[Any]:
  """A field that is comma-separated, a Python literal or a sequence."""
  if isinstance(value, str):
    text = value.strip()
    if text.startswith(('(', '[')):
      return _sequence(ast.literal_eval(text))
    return [part.strip() for part in text.split(',') if part.strip()]
  if isinstance(value, Sequence):
    return list(value)
  return [value]


def names(field: str, value: Any) -> tuple[str, ...]:
  """The names in a field that holds some, each once.

  Raises:
    ValueError: it holds none, or one twice.
  """
  try:
    found = tuple(str(name) for name in _sequence(value))
  except (SyntaxError, ValueError):
    found = ()
  if not found or len(set(found)) != len(found):
    raise ValueError(
      f'config.{field} must be names, comma-separated, each once, got '
      f'{value!r}.'
    )
  return found


def _rates(value: Any, arms: tuple[str, ...]) -> tuple[float, ...]:
  message = (
    f'config.learning_rate must be a number > 0, or one for each of the '
    f'{len(arms)} arms, comma-separated, got {value!r}.'
  )
  try:
    rates = [] if value is None else [float(x) for x in _sequence(value)]
  except (SyntaxError, TypeError, ValueError):
    raise ValueError(message) from None
  if not rates:
    return tuple(optimizers.ARMS[arm].learning_rate for arm in arms)
  if len(rates) == 1:
    rates *= len(arms)
  if len(rates) != len(arms) or not all(0 < r < math.inf for r in rates):
    raise ValueError(message)
  return tuple(rates)
