"""How a run on a stream is shown, when it has ended."""

import io
import re

import numpy as np
import pytest
from rich.console import Console

from experiments.reporting import streams
from experiments.training import records
from experiments.training import stream_records

UPDATES = 25  # Evaluated after 10, 20 and 25 of them.
NAMES = (
  *('online_loss', 'online_accuracy', 'plasticity', 'dead_units'),
  *('effective_rank', 'weight_norm', 'train_seconds'),
)


def _history(*, diverged=(False, False)):
  """Of two tasks of a split, with a seed for each that may diverge."""
  history = records.History(len(diverged), NAMES)
  loss = np.where(diverged, np.nan, 1.0)
  for task in range(2):
    history.append(
      np.full((len(diverged), 3, 2), 0.4 + 0.1 * task),
      **{**dict.fromkeys(NAMES, 0.5), 'online_loss': loss},
    )
  return history


def _shown(histories, width):
  results = {
    arm: stream_records.summarize(history, [0, 1], 0.123, 2)
    for arm, history in histories.items()
  }
  console = Console(width=width, file=io.StringIO())
  console.print(streams.results_table(results, 'split, digits'))
  return console.file.getvalue()


@pytest.fixture(name='figures')
def _figures(monkeypatch):
  """What would be saved, by name."""
  found = {}
  save = lambda figure, path, dpi: found.update({path.name: figure})
  monkeypatch.setattr(streams.pictures, 'save', save)
  return found


@pytest.mark.parametrize('diverged', [(False, False), (False, True)])
def test_no_number_of_the_table_is_cut(diverged):
  arms = ('sgd', 'neural_variability')
  histories = {arm: _history(diverged=diverged) for arm in arms}
  narrow, wide = (_shown(histories, width) for width in (80, 200))
  assert '…' not in narrow
  numbers = lambda text: re.findall(r'\d+\.\d+', text)
  assert sorted(numbers(narrow)) == sorted(numbers(wide))


def test_evaluations_stand_where_they_were_made(figures, tmp_path):
  streams.draw({'sgd': _history()}, UPDATES, tmp_path, 'split')
  (line,) = figures['forgetting.png'].axes[-1].lines
  np.testing.assert_allclose(
    line.get_xdata(), [0.4, 0.8, 1.0, 1.4, 1.8, 2.0], rtol=1e-12
  )


def test_an_arm_that_diverged_is_said_to(figures, tmp_path):
  lost = _history(diverged=(True, True))
  histories = {'sgd': lost, 'adam': _history()}
  streams.draw(histories, UPDATES, tmp_path, 'split')
  figure = figures['forgetting.png']
  assert figure.axes[0].get_title() == 'sgd ×'
  assert [x.get_text() for x in figure.axes[0].texts] == ['diverged']
  assert figure.axes[1].get_title() == 'adam'
  lines = {x.get_label(): x for x in figure.axes[-1].lines}
  assert np.isnan(lines['sgd'].get_ydata()).all()
  np.testing.assert_allclose(lines['adam'].get_ydata(), [40.0] * 3 + [50.0] * 3)
