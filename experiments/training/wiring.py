"""From the description of a training to its trials, tasks and trainers."""

from collections.abc import Sequence
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


@dataclasses.dataclass(frozen=True)
class Setup:
  """A training on its data, before an arm is chosen.

  Attributes:
    training: its description.
    spec: of the data set.
    tasks: the stream that is learned; None for ordinary training.
    trials: one a seed, without values of hyperparameters.
    context: what the optimizers know of the training, but for the order of the
      model's leaves.
  """

  training: Training
  spec: data.Spec
  tasks: Tasks | None
  trials: Trials
  context: optimizers.Context

  def trainer(
    self,
    arm: str,
    *,
    values: optimizers.Values | None = None,
    diagnosed: bool = False,
    lanes: int | None = None,
    measure: bool = True,
  ) -> engine.Trainer:
    """The engine that trains an arm.

    Args:
      arm: the name of the optimizer.
      values: of the hyperparameters that are the same in all trials; a trial's
        own come before them, the defaults of the arm after them.
      diagnosed: whether the last update of an epoch keeps diagnostics; an arm
        without an α has none.
      lanes: see `engine.Trainer`; None or 0 for what the model says.
      measure: see `stream_engine.StreamTrainer`.
    """
    model = models.MODELS[self.training.model]
    make_model: Any = model.make
    if self.tasks and self.tasks.stream.heads:
      make_model = functools.partial(make_model, heads=self.tasks.count)
    order = models.in_order(
      lambda: make_model(
        self.spec.shape, self.spec.num_classes, rngs=nnx.Rngs(0)
      )
    )
    context = dataclasses.replace(self.context, order=order)
    chosen = optimizers.ARMS[arm]

    def make_optimizer(
      traced: optimizers.Values, context: optimizers.Context = context
    ) -> optax.GradientTransformation:
      own = chosen.values({**(values or {}), **traced})
      own[optimizers.LEARNING_RATE] = schedules.scheduled(
        self.training.schedule, own[optimizers.LEARNING_RATE], context
      )
      return chosen.build(own, context)

    make_diagnosed = None
    if diagnosed and chosen.alpha_bounds:
      make_diagnosed = functools.partial(
        make_optimizer,
        context=dataclasses.replace(context, diagnostics='per_leaf'),
      )
    common: dict[str, Any] = {
      'spec': self.spec,
      'make_model': make_model,
      'make_optimizer': make_optimizer,
      'make_diagnosed': make_diagnosed,
      'eval_params': chosen.eval_params,
      'batch_size': self.training.batch_size,
      'lanes': lanes or model.lanes,
    }
    if self.tasks is None:
      return engine.Trainer(**common)
    # An image that is seen once, or permuted, is not cropped and flipped.
    common['spec'] = dataclasses.replace(self.spec, augment=False)
    return StreamTrainer(
      **common,
      tasks=self.tasks,
      restart=self.training.restart,
      measure=measure,
      inactive=chosen.inactive,
    )


def set_up(
  training: Training, dataset: data.Dataset, seeds: Sequence[int]
) -> Setup:
  """Makes what all arms of a training share, with a trial for each seed.

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
  context = optimizers.Context(
    steps_per_epoch=tasks.updates if tasks else steps,
    epochs=training.length,
    warmup_epochs=training.warmup_epochs,
  )
  return Setup(training, dataset.spec, tasks, trials, context)
