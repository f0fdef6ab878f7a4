"""One update: the loss of a batch, its gradient, the state that it changes."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from experiments.training import distributed
from experiments.training.feeds import Pixels
from experiments.training.trials import Trial


class TrainState(NamedTuple):
  """All that changes while a trial runs.

  Attributes:
    step: updates so far, int32.
    params: the model's parameters.
    batch_stats: the model's batch statistics; empty for most models.
    opt_state: the optimizer's state.
    loss: the sum over the examples of this epoch so far, float32.
    correct: how many of them were classified correctly, int32.
    readings: what else is measured of this epoch; empty for most trainings.
  """

  step: jax.Array
  params: Any
  batch_stats: Any
  opt_state: optax.OptState
  loss: jax.Array
  correct: jax.Array
  readings: Any = ()


class Learned(NamedTuple):
  """What comes of an update.

  Attributes:
    state: after it.
    loss: on its batch, before it; float32 [].
    loss_fn: the same of any parameters, with the same dropout.
  """

  state: TrainState
  loss: jax.Array
  loss_fn: Callable[[Any], jax.Array]


class Place(NamedTuple):
  """Where an update stands: its trial, the data, what the feed drew for it.

  `at` is how many updates came before it, int32 [].
  """

  trial: Trial
  pixels: Pixels
  plan: Any
  at: jax.Array


class Sums(NamedTuple):
  """Sums over the examples that were evaluated.

  Attributes:
    loss: float32 [r].
    correct: int32 [r].
  """

  loss: jax.Array
  correct: jax.Array


class Metrics(NamedTuple):
  """Of one pass over a data set, on the host.

  Attributes:
    loss: mean, float64 [r].
    accuracy: float64 [r].
  """

  loss: np.ndarray
  accuracy: np.ndarray


def answers(logits: jax.Array, allowed: jax.Array | None) -> jax.Array:
  """The logits, [..., classes], without those that may not be answered."""
  if allowed is None:
    return logits
  return jnp.where(allowed, logits, -jnp.inf)


def descend(
  loss_fn: Callable[[Any], tuple[jax.Array, Any]],
  optimizer: optax.GradientTransformation,
  params: Any,
  opt_state: optax.OptState,
  *,
  new_task: jax.typing.ArrayLike = False,
) -> tuple[Any, optax.OptState, jax.Array, Any]:
  """One update of some parameters.

  An optimizer that takes extra arguments is given `value`, `grad`, `value_fn`
  (the loss on the batch, of any parameters) and `new_task`.

  Returns:
    The new parameters and state; the loss, and what else `loss_fn` gave, at the
    old ones.
  """
  (loss, aux), gradient = jax.value_and_grad(loss_fn, has_aux=True)(params)
  updates, opt_state = optax.with_extra_args_support(optimizer).update(
    gradient,
    opt_state,
    params,
    value=loss,
    grad=gradient,
    value_fn=lambda params: loss_fn(params)[0],
    new_task=jnp.asarray(new_task),
  )
  return optax.apply_updates(params, updates), opt_state, loss, aux


def score(logits: jax.Array, labels: jax.Array) -> tuple[jax.Array, jax.Array]:
  """The loss of each example, and whether its class has the largest logit."""
  losses = optax.softmax_cross_entropy_with_integer_labels(logits, labels)
  return losses, jnp.argmax(logits, -1) == labels


def means(sums: Sums, count: int) -> Metrics:
  """The means over so many examples, taken on the host.

  There a trial's do not depend on how many others there are: XLA divides a
  vector otherwise than a number.
  """
  fetched = distributed.fetch(sums)
  loss, correct = (np.asarray(x, np.float64) / count for x in fetched)
  return Metrics(loss, correct)
