"""The configuration of a run: its fields, their defaults and their meaning.

The default is NeuroPlastic and its ablation on the embedded digits. Every field
can be given as a flag, `--config.dataset=fashion_mnist`, or be set by a file of
your own, `--config=mine.py`, whose `get_config` starts from the one here.
"""

from collections.abc import Mapping
import dataclasses
import math
from typing import Any

import jax
import ml_collections

from experiments import data
from experiments import errors
from experiments import models
from experiments import optimizers
from experiments.configs import fields
from experiments.optimizers import schedules


def _dataset(name: str, value: Any) -> str:
  """The name of a data set: one that is known, up to the first colon."""
  fields.one_of(name, str(value).partition(':')[0], data.NAMES)
  data.spec(value)
  return value


@dataclasses.dataclass(frozen=True)
class Config:
  """A run; the dataclass holds every field checked and filled in."""

  # digits, mnist, fashion_mnist, cifar10, or synthetic[:HxWxC[:CLASSES…]].
  dataset: str = fields.checked('digits', _dataset, str)
  # How much of the training set to use, stratified by class, in (0, 1].
  fraction: float = fields.number(1.0, 0, 1, low_open=True, high_open=False)
  # The share of training labels that are made wrong, in [0, 1).
  label_noise: float = fields.number(0.0, 0, 1)

  # cnn, mlp or resnet18; by default what the data set names.
  model: str = fields.choice(None, tuple(models.MODELS))

  # Optimizers under comparison, of `experiments.optimizers`: names,
  # comma-separated or a tuple.
  arms: tuple[str, ...] = fields.choices(
    'full,gradient_only', tuple(optimizers.ARMS)
  )
  # A number for all arms, or one for each, comma-separated or a tuple; '' for
  # each arm's own default.
  learning_rate: tuple[float, ...] = fields.checked('', lambda _, value: value)
  # constant, or cosine for a decay to zero at the end of the run.
  schedule: str = fields.choice('constant', tuple(schedules.SCHEDULES))
  # κ of the arms that have it, and how many epochs its warm-up takes.
  plasticity_scale: float = fields.number(2.0, 0)
  warmup_epochs: int = fields.integer(2, low=0)
  # The weight decay of all arms; 0 for each arm's own default.
  weight_decay: float = fields.number(0.0, 0)

  # By default what the data set names.
  epochs: int = fields.integer(None, low=1)
  batch_size: int = fields.integer(None, low=1)

  # How many seeds, and the first.
  seeds: int = fields.integer(5, low=1)
  seed: int = fields.integer(0, low=0)
  # How many seeds train at once on a device; 0 for 1 on CPUs, else all.
  lanes: int = fields.integer(0, low=0)

  # Epochs from one checkpoint to the next.
  checkpoint_every: int = fields.integer(1, low=1)
  # Write TensorBoard events too.
  tensorboard: bool = fields.switch(False)
  # Record and draw what α did at the last update of each epoch, for the arms
  # that have an α.
  diagnostics: bool = fields.switch(True)

  @classmethod
  def resolve(cls, config: Mapping[str, Any]) -> 'Config':
    """Checks every field, and fills in what depends on others.

    Args:
      config: by name, what the user gave.

    Returns:
      The configuration.

    Raises:
      InvalidValueError: naming the field, its value and what is allowed.
    """
    values = fields.values(cls, config)
    spec = data.spec(values['dataset'])
    for name in ('model', 'epochs', 'batch_size'):
      if values[name] is None:
        values[name] = getattr(spec, name)
    values['learning_rate'] = _rates(values['learning_rate'], values['arms'])
    if values['seed'] + values['seeds'] > 2**32:
      raise errors.InvalidValueError(
        'config.seed + config.seeds must be at most 2³², got '
        f'{values["seed"]} + {values["seeds"]}.'
      )
    if not values['lanes'] and jax.default_backend() == 'cpu':
      values['lanes'] = 1
    return cls(**values)

  @property
  def seed_list(self) -> list[int]:
    """The seeds."""
    return list(range(self.seed, self.seed + self.seeds))

  @property
  def rates(self) -> dict[str, float]:
    """The learning rate of each arm."""
    return dict(zip(self.arms, self.learning_rate, strict=True))


def _rates(value: Any, arms: tuple[str, ...]) -> tuple[float, ...]:
  """The learning rate of each arm, from the field that says them."""
  refusal = fields.refusal(
    'learning_rate',
    f'a number > 0, or one for each of the {len(arms)} arms, comma-separated',
    value,
  )
  try:
    rates = [] if value is None else [float(x) for x in fields.sequence(value)]
  except (SyntaxError, TypeError, ValueError):
    raise refusal from None
  if not rates:
    return tuple(optimizers.ARMS[arm].learning_rate for arm in arms)
  if len(rates) == 1:
    rates *= len(arms)
  if len(rates) != len(arms) or not all(0 < r < math.inf for r in rates):
    raise refusal
  return tuple(rates)


def get_config() -> ml_collections.ConfigDict:
  """The configuration and its defaults."""
  return fields.config_dict(Config)
