"""The feed of a stream: each epoch is a task, with what it draws anew.

Everything is drawn from the seed and the index of the task, so that every arm
meets the same tasks, in the same order, with the same batches.
"""

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from experiments import errors
from experiments.data import Dataset
from experiments.data import streams
from experiments.training import keys
from experiments.training.feeds import Batch
from experiments.training.feeds import Feed
from experiments.training.feeds import Pixels
from experiments.training.trials import Trial

# Of each task of a split, as many test images are evaluated.
_EVALUATED = 200


class Plan(NamedTuple):
  """What is drawn of the task under way; n images of a trial.

  Attributes:
    order: int32 [n], the order of the pass under way.
    labels: int32 [n], of the images.
    pixels: int32 [h · w], where each pixel comes from; None for where it is.
    member: bool [n], which images the task has; None for all.
    test: int32 [tasks · evaluated], which test images are evaluated, task after
      task; None for none.
  """

  order: jax.Array
  labels: jax.Array
  pixels: jax.Array | None
  member: jax.Array | None
  test: jax.Array | None


@dataclasses.dataclass(frozen=True)
class Tasks(Feed):
  """A stream, sized for a data set.

  A call of a program stays within a task, so that what a task draws is drawn
  once a call. Pixels are permuted batch by batch: that costs no more than to
  permute all images at the start of a task, and nothing is permuted twice where
  a task is cut.

  Every pass of a task has an order of its own and takes as many batches as the
  smallest task has; what is left over of a pass is as likely as anything else
  in the next.

  Attributes:
    stream: what changes from task to task.
    count: how many tasks there are.
    updates: of a task.
    batch_size: examples an update.
    images: how many training images a trial has.
    pass_batches: how many batches a pass over a task's images takes.
    num_classes: of the data set.
    evaluated: how many test images of each task of a split are evaluated; 0 for
      another stream.
  """

  stream: streams.Stream
  count: int
  updates: int
  batch_size: int
  images: int
  pass_batches: int
  num_classes: int
  evaluated: int = 0

  def steps(self, trial: Trial) -> int:
    """See the base class."""
    return self.updates

  def examples(self, trial: Trial) -> int:
    """See the base class."""
    return self.updates * self.batch_size

  def plan(self, trial: Trial, pixels: Pixels, at: jax.Array) -> Plan:
    """What the task of this update draws, and the order of its pass."""
    changes, labels = self.stream.changes, trial.labels
    task = at // self.updates
    key = jax.random.fold_in(keys.key(trial.seed, keys.CHANGE), task)
    pixel_order = member = test = None
    if changes == streams.LABELS:
      labels = streams.permute_labels(key, labels, self.num_classes)
    elif changes == streams.RANDOM:
      labels = streams.random_labels(key, self.images, self.num_classes)
    elif changes == streams.INPUTS:
      pixel_order = streams.pixel_order(key, pixels.train_images.shape)
    else:
      labels = self._positions(trial)[labels]
      member = labels // self._per_task == task
      test = self._test(trial, pixels)
    order = self._order(trial, member, at)
    return Plan(order, labels, pixel_order, member, test)

  def batch(
    self, plan: Plan, trial: Trial, pixels: Pixels, at: jax.Array
  ) -> tuple[Batch, Plan]:
    """See the base class."""
    step = at % self.updates
    place = step % self.pass_batches
    if self.updates > self.pass_batches:
      # The plan of the call has the order of a pass that it begins within.
      order = jax.lax.cond(
        (place == 0) & (step > 0),
        lambda: self._order(trial, plan.member, at),
        lambda: plan.order,
      )
      plan = plan._replace(order=order)
    first = place * self.batch_size
    chosen = jax.lax.dynamic_slice_in_dim(plan.order, first, self.batch_size)
    return self._of(plan, chosen, trial, pixels, at), plan

  def last(
    self, plan: Plan, trial: Trial, pixels: Pixels, at: jax.Array
  ) -> tuple[Batch, Plan]:
    """See the base class."""
    return self.batch(plan, trial, pixels, at)

  def sample(
    self, plan: Plan, size: int, trial: Trial, pixels: Pixels, at: jax.Array
  ) -> Batch:
    """Some images of the task under way; as many as it has, at most."""
    size = min(size, self.pass_batches * self.batch_size)
    return self._of(plan, plan.order[:size], trial, pixels, at)

  def test(self, plan: Plan, trial: Trial, pixels: Pixels) -> Batch:
    """What is evaluated of a split: images of the test set, task after task.

    Returns:
      [tasks · evaluated] images; `allowed` has a row for each of them.
    """
    allowed = None
    if self.stream.heads:
      each = jax.vmap(self._allowed)(jnp.arange(self.count))
      allowed = jnp.repeat(each, self.evaluated, axis=0)
    images = pixels.test_images[plan.test]
    labels = self._positions(trial)[pixels.test_labels[plan.test]]
    return Batch(images, labels, allowed)

  def _test(self, trial: Trial, pixels: Pixels) -> jax.Array:
    """Which test images are evaluated: of each task as many, at random."""
    of_task = self._positions(trial)[pixels.test_labels] // self._per_task
    key = keys.key(trial.seed, keys.EVALUATED)
    return jax.vmap(
      lambda task: _random_order(key, of_task == task)[: self.evaluated]
    )(jnp.arange(self.count)).ravel()

  @property
  def _per_task(self) -> int:
    return self.num_classes // self.count

  def _positions(self, trial: Trial) -> jax.Array:
    """Of each class of a split, its place; that is what is to be learned."""
    key = keys.key(trial.seed, keys.CHANGE)
    return streams.class_positions(key, self.num_classes)

  def _allowed(self, task: jax.Array) -> jax.Array:
    """Which classes the head of a task answers, bool [classes]."""
    return jnp.arange(self.num_classes) // self._per_task == task

  def _order(
    self, trial: Trial, member: jax.Array | None, at: jax.Array
  ) -> jax.Array:
    """The order of a pass; images of other tasks come last."""
    task, step = at // self.updates, at % self.updates
    key = jax.random.fold_in(keys.key(trial.seed, keys.ORDER), task)
    key = jax.random.fold_in(key, step // self.pass_batches)
    if member is None:
      member = jnp.ones(self.images, bool)
    return _random_order(key, member)

  def _of(
    self,
    plan: Plan,
    chosen: jax.Array,
    trial: Trial,
    pixels: Pixels,
    at: jax.Array,
  ) -> Batch:
    images = pixels.train_images[trial.indices[chosen]]
    if plan.pixels is not None:
      images = streams.permute_inputs(images, plan.pixels)
    allowed = self._allowed(at // self.updates) if self.stream.heads else None
    new_task = (at % self.updates == 0) & (at > 0)
    return Batch(images, plan.labels[chosen], allowed, new_task)


def _random_order(key: jax.Array, member: jax.Array) -> jax.Array:
  """Members first, in random order: one sort, of random bits."""
  bits = jax.random.bits(key, member.shape) >> 1
  return jnp.argsort(jnp.where(member, bits, jnp.uint32(2**32 - 1)))


def make_tasks(
  stream: streams.Stream,
  dataset: Dataset,
  *,
  count: int | None = None,
  updates: int | None = None,
  batch_size: int | None = None,
) -> Tasks:
  """Sizes a stream for a data set.

  Where it has fewer images than the stream, passes are shorter, and batches if
  need be. The stream says the number of tasks, of updates and of examples an
  update that are None.

  Raises:
    InvalidValueError: the classes cannot be shared out among so many tasks, or
      a class has no images.
  """
  spec = dataset.spec
  count = count or stream.tasks
  images = min(
    stream.images or len(dataset.train_labels), len(dataset.train_labels)
  )
  smallest, evaluated = images, 0
  if stream.splits:
    streams.check_split(count, spec.num_classes, spec.name)
    smallest, tested = (
      _smallest(labels, spec.num_classes, count)
      for labels in (dataset.train_labels, dataset.test_labels)
    )
    evaluated = min(_EVALUATED, tested)
    if not smallest or not evaluated:
      raise errors.InvalidValueError(
        f'{spec.name} has classes without images, which a stream cannot split.'
      )
  size = min(batch_size or stream.batch_size, smallest)
  pass_batches = smallest // size
  return Tasks(
    stream,
    count=count,
    updates=updates or stream.updates or pass_batches,
    batch_size=size,
    images=images,
    pass_batches=pass_batches,
    num_classes=spec.num_classes,
    evaluated=evaluated,
  )


def _smallest(labels: np.ndarray, num_classes: int, count: int) -> int:
  """How many images a task has at least, whatever the order of the classes."""
  counts = np.sort(np.bincount(labels, minlength=num_classes))
  if not counts[0]:
    return 0
  return int(counts[: num_classes // count].sum())
