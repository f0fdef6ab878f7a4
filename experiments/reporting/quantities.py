"""What is measured of streams, as tables and pictures show it."""

from typing import NamedTuple

from experiments.reporting import numbers


class Quantity(NamedTuple):
  """A measure, of a task or of a whole stream.

  Attributes:
    name: what records call it; its standard deviation is `NAME_sd`.
    heading: what stands above a column or along an axis.
    factor: what its values are times.
    digits: how many behind the point.
    signed: whether a plus is written, too.
    log: whether its axis is logarithmic.
  """

  name: str
  heading: str
  factor: float = 1
  digits: int = 2
  signed: bool = False
  log: bool = False

  def text(self, mean: float, sd: float) -> str:
    """The mean over seeds ± its standard deviation."""
    mean, sd = self.factor * mean, self.factor * sd
    return numbers.spread(mean, sd, self.digits, sign=self.signed)


_ONLINE = Quantity('online_accuracy', 'online accuracy (%)', 100)
_MEASURED = (
  Quantity('plasticity', 'plasticity', digits=3),
  Quantity('dead_units', 'dead units (%)', 100, digits=1),
  Quantity('effective_rank', 'effective rank', digits=1),
)
# Of every task: the columns of the picture.
BY_TASK = (
  _ONLINE,
  *_MEASURED,
  Quantity('weight_norm', '‖w‖', digits=1, log=True),
)
FIRST, LAST = 'online_accuracy_first_tenth', 'online_accuracy_last_tenth'
# These two are made of others.
CHANGE, NORM = 'online_accuracy_change', 'weight_norm_at_end'
STREAMS = (
  _ONLINE,
  Quantity(FIRST, 'first tenth (%)', 100),
  Quantity(LAST, 'last tenth (%)', 100),
  Quantity(CHANGE, 'last − first tenth (points)', 100, signed=True),
  Quantity('gap_to_fresh', 'gap to a new network (points)', 100, signed=True),
  *_MEASURED,
  Quantity(NORM, '‖w‖ at the end', digits=1),
)
SPLITS = (
  Quantity('average_accuracy', 'average accuracy (%)', 100),
  Quantity('backward_transfer', 'backward transfer (points)', 100, signed=True),
  Quantity('forgetting', 'forgetting (points)', 100),
  Quantity('min_accuracy', 'min-ACC (%)', 100),
  Quantity('worst_case_accuracy', 'WC-ACC (%)', 100),
)
BY_NAME = {each.name: each for each in (*BY_TASK, *STREAMS, *SPLITS)}
