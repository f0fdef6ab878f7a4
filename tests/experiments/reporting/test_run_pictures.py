"""The pictures of runs are whole, and show what was measured."""

import os
import pathlib
import subprocess
import sys
import types

import numpy as np
from PIL import Image
import pytest

from experiments import errors
from experiments.reporting import run_pictures
from experiments.reporting.plots import saving
from experiments.reporting.plots import style
from experiments.training import records

NAN = float('nan')
UPDATES = 25  # Evaluated after 10, 20 and 25 of them.
STREAM = (
  *('online_loss', 'online_accuracy', 'plasticity', 'dead_units'),
  *('effective_rank', 'weight_norm', 'train_seconds'),
)


def history(losses, accuracies):
  """Of arrays [epochs, seeds]."""
  made = records.History(len(losses[0]))
  for loss, accuracy in zip(losses, accuracies, strict=True):
    values = {'train_loss': loss, 'test_accuracy': accuracy}
    made.append(**dict.fromkeys(records.METRICS, 1.0) | values)
  return made


def stream(diverged=(False, False, False)):
  """Of two tasks of a split, with a seed for each that may diverge."""
  made = records.History(len(diverged), STREAM)
  loss = np.where(diverged, np.nan, 1.0)
  for task in range(2):
    made.append(
      evaluations=np.full((len(diverged), 3, 2), 0.4 + 0.1 * task),
      **{**dict.fromkeys(STREAM, 0.5), 'online_loss': loss},
    )
  return made


def alpha(leaves, epochs=2, seeds=2, **changes):
  """Something plausible; `changes` fill whole arrays."""
  random = np.random.default_rng(0)
  new = records.Diagnostics()
  new.leaves = [f'layer{i}/kernel' for i in range(leaves)]
  shape = (seeds, epochs, leaves)
  for name in (
    *('alpha_mean', 'alpha_fraction_near_min', 'alpha_fraction_near_max'),
    *('gradient_norm', 'parameter_norm', 'update_norm'),
    'controller_multiplier',
  ):
    new.values[name] = random.uniform(0.1, 1, shape)
  new.values['alpha_histogram'] = random.integers(0, 9, (*shape, 64))
  for name, value in changes.items():
    new.values[name] = np.full_like(new.values[name], value)
  return new


ONE_SEED = history([[1.0], [0.5]], [[0.5], [0.75]])
TWO_SEEDS = history([[1.0, 2.0], [0.5, 0.25]], [[0.5, 0.6], [0.75, 0.8]])
DIVERGED = history([[1.0, 2.0], [0.5, NAN]], [[0.5, 0.6], [0.75, 0.1]])
ALL_DIVERGED = history([[NAN, NAN]] * 2, [[0.5, 0.1]] * 2)


def is_picture(path, size=None):
  with Image.open(path) as picture:
    assert picture.format == 'PNG'
    assert size is None or picture.size == size
    assert np.asarray(picture.convert('L')).std() > 5  # It is not blank.


@pytest.mark.parametrize(
  'histories',
  [
    {'sgd': ALL_DIVERGED},
    {'sgd': history([[0.0, 0.0]] * 2, [[1.0, 1.0]] * 2), 'adam': ALL_DIVERGED},
    {f'arm{i}': TWO_SEEDS for i in range(30)},
  ],
)
def test_curves_of_any_metrics_are_a_picture(histories, tmp_path):
  with style.plain():
    figure = run_pictures.curves(histories, 'digits, $x_')
    saving.save(figure, tmp_path / 'curves.png', 120)
  is_picture(tmp_path / 'curves.png', (1200, 504))


def test_curves_are_means_over_the_seeds_that_stayed_finite():
  histories = {'sgd': TWO_SEEDS, 'adam': DIVERGED, 'one': ONE_SEED}
  axes = run_pictures.curves(histories, '').axes
  lines = [line for each in axes for line in each.lines]
  assert [x.get_label() for x in lines] == ['sgd', 'adam', 'one'] * 2
  shown = np.array([x.get_ydata() for x in lines])
  expected = [[55, 77.5], [50, 75], [50, 75], [1.5, 0.375], [1, 0.5], [1, 0.5]]
  np.testing.assert_allclose(shown, expected)
  # Only the arm with two finite seeds has a band, of one sd to both sides.
  (band,) = axes[0].collections
  sd = 100 * np.std([0.75, 0.8], ddof=1)
  assert band.get_paths()[0].get_extents().ymax == pytest.approx(77.5 + sd)


@pytest.mark.parametrize(
  ('leaves', 'epochs', 'changes'),
  [
    # As many as an mlp, a cnn and a resnet18 have.
    (6, 1, {}),
    (62, 2, {'controller_multiplier': 1.0}),
    (6, 2, {'update_norm': 0.0, 'gradient_norm': 0.0}),
    (10, 2, {'update_norm': NAN, 'alpha_mean': NAN, 'parameter_norm': NAN}),
    (10, 2, {'gradient_norm': np.inf, 'update_norm': 1.0}),
  ],
)
def test_alpha_of_any_run_is_a_picture(tmp_path, leaves, epochs, changes):
  path = tmp_path / 'diagnostics' / 'full.png'
  found = alpha(leaves, epochs, **changes)
  with style.plain():
    saving.save(
      run_pictures.layers(found, (0.2, 2.0), 'full: digits', 'epoch'), path
    )
  is_picture(path)
  assert [p.name for p in path.parent.iterdir()] == ['full.png']


def test_alpha_of_a_diverged_seed_is_left_out():
  found = alpha(6, seeds=3)
  found.values['update_norm'][1, 1, 4] = NAN
  axes = run_pictures.layers(found, (0.2, 2.0), '', 'epoch').axes[1]
  expected = found.values['alpha_mean'][[0, 2]].mean(axis=0)
  shown = np.array([line.get_ydata() for line in axes.lines])
  np.testing.assert_allclose(shown, expected.T)


def run_of(folder, histories, tasks=None):
  """What the pictures want of a run."""
  variants = {k: types.SimpleNamespace(history=x) for k, x in histories.items()}
  return types.SimpleNamespace(
    variants=lambda: variants,
    histories=histories,
    config=types.SimpleNamespace(combinations=[{}], unit='epoch'),
    tasks=tasks,
    title='digits',
    workdir=folder,
  )


@pytest.mark.parametrize(
  'lost', [(False,) * 3, (True, False, False), (True, True, True)]
)
def test_streams_have_their_pictures(tmp_path, lost):
  histories = {'sgd': stream(lost), 'adam, learning_rate=0.1': stream()}
  tasks = types.SimpleNamespace(updates=UPDATES)
  said = []
  drawn = run_pictures.draw(run_of(tmp_path, histories, tasks), said.append)
  assert said == []
  assert drawn == ['stream.png', 'forgetting.png', 'first_task.png']
  for name in drawn:
    is_picture(tmp_path / name)


def test_an_arm_of_a_stream_that_diverged_has_a_name_and_no_line():
  histories = {'sgd': stream((True,) * 3), 'adam': stream((False, True, False))}
  maps = run_pictures.forgetting(histories, '')
  titles = {each.get_title('left') or each.get_title() for each in maps.axes}
  assert titles >= {'sgd ×', 'adam'}
  figure = run_pictures.first_task(histories, UPDATES, '')
  lines = {x.get_label(): x for axes in figure.axes for x in axes.lines}
  assert np.isnan(lines['sgd'].get_ydata()).all()
  np.testing.assert_allclose(lines['adam'].get_ydata(), [40.0] * 3 + [50.0] * 3)
  np.testing.assert_allclose(
    lines['adam'].get_xdata(), [0.4, 0.8, 1.0, 1.4, 1.8, 2.0]
  )


def test_a_picture_that_cannot_be_drawn_costs_no_other(tmp_path, monkeypatch):
  def fail(*_):
    raise RuntimeError('no LaTeX')

  full = history([[1.0, 2.0]] * 2, [[0.5, 0.6]] * 2)
  full.diagnostics = alpha(1)
  run = run_of(tmp_path, {'full': full})
  said = []
  names = ['curves.png', 'overview.png', 'diagnostics/full.png']
  assert run_pictures.draw(run, said.append) == names
  is_picture(tmp_path / 'overview.png', (1320, 504))
  monkeypatch.setattr(run_pictures, '_band', fail)
  assert run_pictures.draw(run, said.append) == ['diagnostics/full.png']
  assert said == [
    f'{name} cannot be drawn: RuntimeError: no LaTeX'
    for name in ('curves.png', 'overview.png')
  ]
  # What cannot be written is the user's matter.
  (tmp_path / 'diagnostics' / 'full.png').unlink()
  (tmp_path / 'diagnostics').rmdir()
  (tmp_path / 'diagnostics').touch()
  with pytest.raises(errors.StorageError, match=r'cannot write .*full\.png'):
    run_pictures.draw(run, said.append)


_DRAW = """
import pathlib, sys
from tests.experiments.reporting import test_run_pictures as tests
run = tests.run_of(pathlib.Path(sys.argv[1]), {'sgd': tests.TWO_SEEDS})
assert tests.run_pictures.draw(run, print) == ['curves.png']
"""


@pytest.mark.slow
def test_no_backend_and_no_matplotlibrc_of_the_user_matters(tmp_path):
  """As a notebook sets the one, and some users the other."""
  (tmp_path / 'matplotlibrc').write_text(
    'text.usetex: True\nlines.linewidth: 9\naxes.prop_cycle: cycler(color="r")'
  )
  strange = {
    'MPLBACKEND': 'module://matplotlib_inline.backend_inline',
    'MATPLOTLIBRC': str(tmp_path),
  }
  subprocess.run(
    [sys.executable, '-c', _DRAW, tmp_path],
    cwd=pathlib.Path(__file__).parents[3],
    env={**os.environ, **strange},
    check=True,
  )
  there = (tmp_path / 'curves.png').read_bytes()
  run_pictures.draw(run_of(tmp_path, {'sgd': TWO_SEEDS}), print)
  assert (tmp_path / 'curves.png').read_bytes() == there
