"""What is drawn of a stream task by task, of a run and of a study alike."""

from typing import NamedTuple


class Measure(NamedTuple):
  """A measure of a task.

  Attributes:
    name: what records call it.
    label: what an axis says.
    factor: what its values are times.
    log: whether its axis is logarithmic.
  """

  name: str
  label: str
  factor: float = 1
  log: bool = False


MEASURES = (
  Measure('online_accuracy', 'online accuracy (%)', 100),
  Measure('plasticity', 'plasticity'),
  Measure('dead_units', 'dead units (%)', 100),
  Measure('effective_rank', 'effective rank'),
  Measure('weight_norm', '‖w‖', log=True),
)
BY_NAME = {measure.name: measure for measure in MEASURES}
