"""Schedules of the learning rate over a run."""

from collections.abc import Callable

import optax

from experiments.optimizers.arm import Context

# The one that does not depend on how many epochs a run has.
CONSTANT = 'constant'
SCHEDULES: dict[str, Callable[[int], optax.Schedule | None]] = {
  # A factor of the learning rate, from the number of updates in all; None for
  # one that is always 1.
  CONSTANT: lambda steps: None,
  'cosine': lambda steps: optax.cosine_decay_schedule(1.0, steps),
}


def scheduled(
  name: str, peak: optax.ScalarOrSchedule, context: Context
) -> optax.ScalarOrSchedule:
  """The learning rate over the run: a number, or a schedule of updates.

  The peak, at the start, may be a tracer; `cosine` decays to 0 at the end.
  """
  factor = SCHEDULES[name](context.epochs * context.steps_per_epoch)
  if factor is None:
    return peak
  return lambda count: peak * factor(count)
