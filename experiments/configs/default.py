"""The configuration of a run: its fields, their defaults and their meaning.

The default is NeuroPlastic and its ablation on the embedded digits. Every field
can be given as a flag, `--config.dataset=fashion_mnist`, or be set by a file of
your own, `--config=mine.py`, whose `get_config` starts from the one here.
"""

from collections.abc import Mapping
import dataclasses
import itertools
import math
from typing import Any

import ml_collections
from ml_collections import config_dict

from experiments import data
from experiments import errors
from experiments import models
from experiments import optimizers
from experiments.configs import fields
from experiments.configs.training import Training
from experiments.data import streams
from experiments.optimizers import schedules


def _dataset(name: str, value: Any) -> str:
  """The name of a data set: one that is known, up to the first colon."""
  fields.one_of(name, str(value).partition(':')[0], data.NAMES)
  try:
    data.spec(value)
  except errors.InvalidValueError as e:
    raise errors.InvalidValueError(f'config.{name}: {e}') from e
  return value


def _stream(name: str, value: Any) -> str:
  """The name of a stream; '' for none."""
  if value is None or (isinstance(value, str) and not value):
    return ''
  return fields.one_of(name, value, tuple(streams.STREAMS))


def _mapping(name: str, value: Any) -> Mapping[str, Any]:
  """Hyperparameters by name; empty for none."""
  if value is None:
    return {}
  if not isinstance(value, Mapping):
    raise fields.refusal(name, 'numbers by name', value)
  return value


def _hparams(name: str, value: Any) -> dict[str, dict[str, float]]:
  """By arm, the hyperparameters that are given."""
  found: dict[str, dict[str, float]] = {}
  for arm, given in _mapping(name, value).items():
    fields.one_of(name, arm, tuple(optimizers.ARMS))
    field = f'{name}.{arm}'
    for each, number in _mapping(field, given).items():
      fields.one_of(field, each, tuple(optimizers.ARMS[arm].hyperparameters))
      if number is not None:
        checked = fields.hyperparameter(field, each, number)
        found.setdefault(arm, {})[each] = checked
  return found


def _trials(name: str, value: Any) -> tuple[dict[str, float], ...]:
  """The combinations of numbers; none where nothing varies."""
  refusal = fields.refusal(
    name,
    'a grid, {name: [numbers]}, or a list of combinations, [{name: number}], '
    'all of the same names',
    value,
  )
  try:
    given = fields.literal(value) if value and type(value) is str else value
    if not given:
      return ()
    if isinstance(given, Mapping):
      columns = {name: list(numbers) for name, numbers in given.items()}
      product = itertools.product(*columns.values())
      rows = [dict(zip(columns, row, strict=True)) for row in product]
    else:
      rows = [dict(row) for row in given]
  except (TypeError, ValueError):
    raise refusal from None
  if (
    not rows or not rows[0] or any(row.keys() != rows[0].keys() for row in rows)
  ):
    raise refusal
  found = [
    {each: fields.hyperparameter(name, each, row[each]) for each in rows[0]}
    for row in rows
  ]
  if any(row in found[:i] for i, row in enumerate(found)):
    raise refusal
  return tuple(found)


@dataclasses.dataclass(frozen=True)
class Config(Training):
  """A run; the dataclass holds every field checked and filled in."""

  # digits, mnist, fashion_mnist, cifar10, or synthetic[:HxWxC[:CLASSES…]].
  dataset: str = fields.checked('digits', _dataset, str)
  # How much of the training set to use, stratified by class, in (0, 1].
  fraction: float = fields.number(1.0, 0, 1, upper=True)
  # The share of training labels that are made wrong, in [0, 1).
  label_noise: float = fields.number(0.0, 0, 1)
  # What is evaluated after every epoch and recorded as test_…: test; or
  # validation, a part of the training set that is held out, and then no test
  # image is touched.
  split: str = fields.choice('test', ('test', 'validation'))

  # Tasks that follow one another, as `experiments.data.streams` says:
  # permuted_labels, permuted_inputs, random_labels, split, split_heads or
  # online_permuted_inputs; '' for ordinary training. Whatever counts epochs
  # then counts tasks.
  stream: str = fields.checked('', _stream, str)
  # How many tasks, and the updates of one; by default what the stream says.
  tasks: int | None = fields.integer(None, low=1)
  updates: int | None = fields.integer(None, low=1)
  # Begin every task of a stream with a new network, and a new optimizer.
  restart: bool = fields.switch(False)

  # cnn, mlp or resnet18, or one of a stream: mlp_small, mlp_norm, mlp_wide,
  # mlp_wide_norm, mlp_leaky; by default what the data set or the stream names.
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
  # The weight decay of the arms that have one; by default each arm's own.
  weight_decay: float | None = fields.number(None, 0)

  # Hyperparameters of single arms, --config.hparams.ARM.NAME=value, which come
  # before the fields above; `experiments.optimizers` has those of every arm.
  hparams: Mapping[str, Mapping[str, float]] = fields.checked('', _hparams)
  # Numbers that vary: a grid, {'learning_rate': [0.1, 0.3], 'strength': [1]},
  # whose combinations are all trained; or a list of combinations,
  # [{'learning_rate': 0.1}, {'learning_rate': 0.3}]. Each is trained with all
  # seeds. One compiled program trains all combinations and seeds of an arm.
  trials: tuple[Mapping[str, float], ...] = fields.checked('', _trials)

  # By default what the data set names, or the stream; epochs are none of a
  # stream's.
  epochs: int | None = fields.integer(None, low=1)
  batch_size: int = fields.integer(None, low=1)

  # How many seeds, and the first.
  seeds: int = fields.integer(5, low=1)
  seed: int = fields.integer(0, low=0, high=2**32 - 1)
  # How many seeds train at once on a device; 0 for 1 on CPUs and with
  # convolutions, else all.
  lanes: int = fields.integer(0, low=0, free=True)

  # Epochs from one checkpoint to the next; by default 1, or a tenth of a
  # stream's tasks.
  checkpoint_every: int = fields.integer(None, low=1, free=True)
  # Write TensorBoard events too.
  tensorboard: bool = fields.switch(False, free=True)
  # Record and draw what α did at the last update of each epoch, for the arms
  # that have an α.
  diagnostics: bool = fields.switch(True)

  @classmethod
  def resolve(cls, config: Mapping[str, Any]) -> 'Config':
    """Checks every field, and fills in what depends on others.

    Raises:
      InvalidValueError: naming the field, its value and what is allowed.
    """
    values = fields.values(cls, config)
    spec = data.spec(values['dataset'])
    stream = values['stream']
    source: Any = streams.STREAMS[stream] if stream else spec
    for name in ('model', 'batch_size', 'tasks' if stream else 'epochs'):
      if values[name] is None:
        values[name] = getattr(source, name)
    _check_stream(values, spec)
    if values['checkpoint_every'] is None:
      values['checkpoint_every'] = max(1, (values['tasks'] or 0) // 10)
    values['learning_rate'] = _rates(values['learning_rate'], values['arms'])
    if values['seed'] + values['seeds'] > 2**32:
      raise errors.InvalidValueError(
        'config.seed + config.seeds must be at most 2³², got '
        f'{values["seed"]} + {values["seeds"]}.'
      )
    _check_varied(values['trials'], values['arms'])
    for arm in values['arms'] if values['weight_decay'] is not None else ():
      if 'weight_decay' not in optimizers.ARMS[arm].hyperparameters:
        raise errors.InvalidValueError(
          'config.weight_decay must be left out for arms without weight decay, '
          f'of which {arm} is one, got {values["weight_decay"]!r}.'
        )
    if not values['lanes']:
      values['lanes'] = models.MODELS[values['model']].lanes or 0
    return cls(**values)

  def may_resume(self, name: str, there: Any) -> bool:
    """Whether results do not show that a run began with what was there."""
    longer = 'tasks' if self.stream else 'epochs'
    constant = self.schedule == schedules.CONSTANT
    if name == longer and constant and not self.splits:
      return isinstance(there, int) and there < self.length
    return fields.is_free(type(self), name)

  @property
  def seed_list(self) -> list[int]:
    """The seeds."""
    return list(range(self.seed, self.seed + self.seeds))

  @property
  def combinations(self) -> tuple[Mapping[str, float], ...]:
    """The sets of numbers that are trained, at least one."""
    return self.trials or ({},)

  @property
  def rates(self) -> dict[str, float]:
    """The learning rate of each arm, where no trial has its own."""
    return {
      arm: self.hparams.get(arm, {}).get(optimizers.LEARNING_RATE, rate)
      for arm, rate in zip(self.arms, self.learning_rate, strict=True)
    }

  def numbers(self, arm: str) -> dict[str, float]:
    """The numbers of an arm that are the same in all trials."""
    shared = {'plasticity_scale': self.plasticity_scale}
    if self.weight_decay is not None:
      shared['weight_decay'] = self.weight_decay
    return {**shared, **self.hparams.get(arm, {})}


def _check_stream(values: Mapping[str, Any], spec: data.Spec) -> None:
  """Refuses what has no meaning with a stream, or without one."""
  name = values['stream']
  neutral: dict[str, Any] = {'tasks': None, 'updates': None, 'restart': False}
  condition = 'without config.stream'
  if name:
    neutral = {'epochs': None, 'fraction': 1.0, 'label_noise': 0.0}
    condition = (
      f'with config.stream={name}, which says itself what is learned from, and '
      'whose length is config.tasks'
    )
  for field, value in neutral.items():
    if values[field] != value:
      allowed = 'left out' if value is None else f'{value!r}'
      raise fields.refusal(field, f'{allowed} {condition}', values[field])
  if not name:
    return
  if streams.STREAMS[name].splits:
    streams.check_split(values['tasks'], spec.num_classes, spec.name)
  if not models.MODELS[values['model']].features:
    known = [each for each, model in models.MODELS.items() if model.features]
    raise fields.refusal(
      'model',
      f'one with features to be measured for config.stream={name}: '
      f'{", ".join(known)}',
      values['model'],
    )


def _check_varied(
  trials: tuple[Mapping[str, float], ...], arms: tuple[str, ...]
) -> None:
  """Refuses trials of numbers that an arm does not have."""
  for arm in arms if trials else ():
    for name in trials[0]:
      known = tuple(optimizers.ARMS[arm].hyperparameters)
      if name not in known:
        raise errors.InvalidValueError(
          f'config.trials must vary hyperparameters of every arm, of {arm} one '
          f'of {", ".join(known)}, got {name!r}.'
        )


def _rates(value: Any, arms: tuple[str, ...]) -> tuple[float, ...]:
  """The learning rate of each arm, from the field that says them."""
  refusal = fields.refusal(
    'learning_rate',
    f'a number > 0, or one for each of the {len(arms)} arms, comma-separated'
    if len(arms) > 1
    else 'a number > 0',
    value,
  )
  try:
    rates = [] if value is None else [*map(float, fields.sequence(value))]
  except (TypeError, ValueError, OverflowError):
    raise refusal from None
  if not rates:
    return tuple(optimizers.ARMS[arm].learning_rate for arm in arms)
  if len(rates) == 1:
    rates *= len(arms)
  if len(rates) != len(arms) or not all(0 < r < math.inf for r in rates):
    raise refusal
  for rate in rates:
    fields.hyperparameter('', optimizers.LEARNING_RATE, rate)
  return tuple(rates)


def get_config() -> ml_collections.ConfigDict:
  """The configuration and its defaults."""
  config = fields.config_dict(Config)
  # A flag for every hyperparameter of every arm.
  config.hparams = ml_collections.ConfigDict(
    {
      name: {
        each: config_dict.placeholder(float) for each in arm.hyperparameters
      }
      for name, arm in optimizers.ARMS.items()
    }
  )
  return config
