"""How many weights are no longer learned, layer by layer."""

from collections.abc import Iterator
import functools

from experiments.reporting.figures import kind
from experiments.reporting.figures import sensitivity
from experiments.reporting.plots import layers
from experiments.studies.loading import Published
from experiments.training.stream_engine import INACTIVE


@kind.register(
  28,
  'Inactive weights',
  'Of streams, at the end of each task, the share of the weights of each layer '
  'that get almost no gradient: means over the seeds that stayed finite, of '
  'the arms that measure it, each with its own threshold.',
  '',
)
def inactive(study: Published) -> Iterator[kind.Drawing]:
  """A picture for every condition that is a stream, and ruleset."""
  points = sensitivity.points(study)
  rows = study.measures[study.measures['measure'].str.startswith(INACTIVE)]
  rows = rows.assign(
    leaf=rows['measure'].str.removeprefix(INACTIVE),
    x=rows['task'],
    y=100 * rows['mean'],
  )
  for group, arms in kind.by_arm(study, rows).items():
    if group[0] in points:
      continue
    title = ', '.join(group)
    yield kind.Drawing(
      group,
      f'Share of inactive weights of every layer over tasks, {title}.',
      functools.partial(
        layers.draw,
        *(arms, f'Inactive weights: {title}', 'task', 'inactive (%)'),
      ),
    )
