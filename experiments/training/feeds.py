"""Feeds: what each update learns from, drawn on the device from the seed."""

import abc
import math
from typing import Any, NamedTuple

import jax

from experiments.training import keys
from experiments.training.trials import Trial


class Pixels(NamedTuple):
  """The data, on the device; all trials share it.

  Attributes:
    train_images: uint8 [N, h, w, c].
    test_images: uint8 [m, h, w, c].
    test_labels: int32 [m].
  """

  train_images: jax.Array
  test_images: jax.Array
  test_labels: jax.Array


class Batch(NamedTuple):
  """What an update learns from.

  Attributes:
    images: uint8 [b, h, w, c].
    labels: int32 [b].
    allowed: bool [classes], which of them may be answered; None for all.
    new_task: bool [], whether it is the first of a task, but not of the run.
  """

  images: jax.Array
  labels: jax.Array
  allowed: jax.Array | None = None
  new_task: jax.typing.ArrayLike = False


class Feed(abc.ABC):
  """Cuts a training into epochs, and each of those into batches.

  A call of a program stays within an epoch. It asks for a plan first, and then
  for one batch after the other; results do not depend on where it began.
  """

  @abc.abstractmethod
  def steps(self, trial: Trial) -> int:
    """How many updates an epoch has; of a trial or of trials."""

  @abc.abstractmethod
  def examples(self, trial: Trial) -> int:
    """How many examples an epoch has."""

  @abc.abstractmethod
  def plan(self, trial: Trial, pixels: Pixels, at: jax.Array) -> Any:
    """What a call draws that begins at this update, counted from 0."""

  @abc.abstractmethod
  def batch(
    self, plan: Any, trial: Trial, pixels: Pixels, at: jax.Array
  ) -> tuple[Batch, Any]:
    """The batch of an update that is not an epoch's last, and the next plan."""

  @abc.abstractmethod
  def last(
    self, plan: Any, trial: Trial, pixels: Pixels, at: jax.Array
  ) -> tuple[Batch, Any]:
    """The batch of an epoch's last update, which may be smaller."""


class Epochs(Feed):
  """Ordinary training: an epoch is one pass over all examples of a trial."""

  def __init__(self, batch_size: int) -> None:
    self._batch_size = batch_size

  def size(self, trial: Trial) -> int:
    """How many examples a batch has, but for the last."""
    return min(trial.indices.shape[-1], self._batch_size)

  def steps(self, trial: Trial) -> int:
    """See the base class."""
    return math.ceil(trial.indices.shape[-1] / self.size(trial))

  def examples(self, trial: Trial) -> int:
    """See the base class."""
    return trial.indices.shape[-1]

  def plan(self, trial: Trial, pixels: Pixels, at: jax.Array) -> jax.Array:
    """The order of the examples in the epoch under way."""
    epoch = at // self.steps(trial)
    key = jax.random.fold_in(keys.key(trial.seed, keys.ORDER), epoch)
    return jax.random.permutation(key, len(trial.indices))

  def batch(
    self, plan: Any, trial: Trial, pixels: Pixels, at: jax.Array
  ) -> tuple[Batch, Any]:
    """See the base class."""
    size = self.size(trial)
    first = at % self.steps(trial) * size
    chosen = jax.lax.dynamic_slice_in_dim(plan, first, size)
    return self.of(chosen, trial, pixels), plan

  def last(
    self, plan: Any, trial: Trial, pixels: Pixels, at: jax.Array
  ) -> tuple[Batch, Any]:
    """See the base class."""
    chosen = plan[(self.steps(trial) - 1) * self.size(trial) :]
    return self.of(chosen, trial, pixels), plan

  def of(self, chosen: jax.Array, trial: Trial, pixels: Pixels) -> Batch:
    """The batch of some examples of a trial, int32 [b]."""
    images = pixels.train_images[trial.indices[chosen]]
    return Batch(images, trial.labels[chosen])
