"""From the description of a training to its trials, tasks and trainers."""

from collections.abc import Callable, Sequence
import dataclasses
import functools
import math
from typing import Any

from flax import nnx
import optax

from experiments import data
from experiments import models
from experiments import optimizers
from experiments.configs.training import Training
from experiments.data import streams
from experiments.optimizers import schedules
from experiments.training import engine
from experiments.training.stream_engine import StreamTrainer
from experiments.training.tasks import make_tasks
from experiments.training.tasks import Tasks
from experiments.training.trials import make_trials
from experiments.training.trials import Trials


def trainer(
  arm: optimizers.Arm,
  setting: optimizers.Setting,
  *,
  spec: data.Spec,
  make_model: Callable[..., nnx.Module],
  batch_size: int,
  numbers: optimizers.Numbers | None = None,
  schedule: str = 'constant',
  diagnosed: bool = False,
  lanes: int | None = None,
  tasks: Tasks | None = None,
  restart: bool = False,
  measure: bool = True,
) -> engine.Trainer:
  """The engine that trains an arm.

  Args:
    arm: the optimizer.
    setting: what it knows of the run, but for the order of the model's leaves.
    spec: the data set.
    make_model: see `engine.Trainer`.
    batch_size: see `engine.Trainer`.
    numbers: the arm's numbers that are the same in all trials; a trial's own
      come before them, the defaults of the arm after them.
    schedule: of the learning rate, a key of `schedules.SCHEDULES`.
    diagnosed: whether the last update of an epoch keeps diagnostics; an arm
      without an α has none.
    lanes: see `engine.Trainer`.
    tasks: the stream that it is trained on; None for ordinary training.
    restart: see `stream_engine.StreamTrainer`.
    measure: see `stream_engine.StreamTrainer`.

  Returns:
    The engine.
  """
  if tasks and tasks.stream.heads:
    make_model = functools.partial(make_model, heads=tasks.count)
  order = models.in_order(
    lambda: make_model(spec.shape, spec.num_classes, rngs=nnx.Rngs(0))
  )
  setting = dataclasses.replace(setting, order=order)

  def make_optimizer(
    traced: optimizers.Numbers, setting: optimizers.Setting = setting
  ) -> optax.GradientTransformation:
    values = arm.numbers({**(numbers or {}), **traced})
    values[optimizers.LEARNING_RATE] = schedules.scheduled(
      schedule, values[optimizers.LEARNING_RATE], setting
    )
    return arm.build(values, setting)

  make_diagnosed = None
  if diagnosed and arm.alpha_bounds:
    make_diagnosed = functools.partial(
      make_optimizer,
      setting=dataclasses.replace(setting, diagnostics='per_leaf'),
    )
  common: dict[str, Any] = {
    'spec': spec,
    'make_model': make_model,
    'make_optimizer': make_optimizer,
    'make_diagnosed': make_diagnosed,
    'eval_params': arm.eval_params,
    'batch_size': batch_size,
    'lanes': lanes,
  }
  if tasks is None:
    return engine.Trainer(**common)
  # An image that is seen once, or permuted, is not cropped and flipped.
  common['spec'] = dataclasses.replace(spec, augment=False)
  return StreamTrainer(**common, tasks=tasks, restart=restart, measure=measure)


@dataclasses.dataclass(frozen=True)
class Setup:
  """A training on its data, before an arm is chosen.

  Attributes:
    training: its description.
    spec: of the data set.
    tasks: the stream that is learned; None for ordinary training.
    trials: one a seed, with no numbers yet.
    setting: what the optimizers know of the training.
  """

  training: Training
  spec: data.Spec
  tasks: Tasks | None
  trials: Trials
  setting: optimizers.Setting

  def trainer(
    self,
    arm: str,
    *,
    numbers: optimizers.Numbers | None = None,
    diagnosed: bool = False,
    lanes: int | None = None,
  ) -> engine.Trainer:
    """The engine that trains an arm; `trainer` has the arguments."""
    model = models.MODELS[self.training.model]
    return trainer(
      optimizers.ARMS[arm],
      self.setting,
      spec=self.spec,
      make_model=model.make,
      batch_size=self.training.batch_size,
      numbers=numbers,
      schedule=self.training.schedule,
      diagnosed=diagnosed,
      lanes=lanes or model.lanes,
      tasks=self.tasks,
      restart=self.training.restart,
    )


def set_up(
  training: Training, dataset: data.Dataset, seeds: Sequence[int]
) -> Setup:
  """Makes what all arms of a training share.

  Args:
    training: its description.
    dataset: the data that it is trained on.
    seeds: one trial each, with its own subset and label noise.

  Returns:
    The tasks, the trials and what the optimizers know.

  Raises:
    InvalidValueError: the data set does not fit the stream.
  """
  tasks = None
  if training.stream:
    tasks = make_tasks(
      streams.STREAMS[training.stream],
      dataset,
      count=training.tasks,
      updates=training.updates,
      batch_size=training.batch_size,
    )
  trials = make_trials(
    dataset,
    seeds,
    fraction=training.fraction,
    label_noise=training.label_noise,
    images=tasks.images if tasks else None,
  )
  steps = math.ceil(trials.labels.shape[1] / training.batch_size)
  setting = optimizers.Setting(
    steps_per_epoch=tasks.updates if tasks else steps,
    epochs=training.length,
    warmup_epochs=training.warmup_epochs,
  )
  return Setup(training, dataset.spec, tasks, trials, setting)
