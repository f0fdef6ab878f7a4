"""The picture of what α did is one for every model, also for wrecked runs."""

import numpy as np
from PIL import Image
import pytest

from experiments.reporting import alpha
from experiments.training import diagnostics

NAN = float('nan')


def _diagnostics(leaves, epochs=2, replicas=2, **changes):
  """Something plausible; `changes` fill whole arrays."""
  random = np.random.default_rng(0)
  new = diagnostics.Diagnostics()
  new.leaves = [f'layer{i}/kernel' for i in range(leaves)]
  shape = (replicas, epochs, leaves)
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


@pytest.mark.parametrize(
  ('leaves', 'epochs', 'changes'),
  [
    # As many as an mlp, a cnn and a resnet18 have.
    (6, 2, {}),
    (10, 1, {}),
    (62, 2, {'controller_multiplier': 1.0}),
    (6, 2, {'update_norm': 0.0, 'gradient_norm': 0.0}),
    (10, 2, {'update_norm': 0.0}),
    (6, 2, {'update_norm': NAN, 'alpha_mean': NAN, 'parameter_norm': NAN}),
    (10, 2, {'update_norm': NAN, 'alpha_mean': NAN, 'parameter_norm': NAN}),
    (10, 2, {'gradient_norm': np.inf, 'update_norm': 1.0}),
  ],
)
def test_the_picture_is_whole(tmp_path, leaves, epochs, changes):
  path = tmp_path / 'diagnostics' / 'full.png'
  found = _diagnostics(leaves, epochs, **changes)
  alpha.draw(found, (0.2, 2.0), path, 'full: digits')
  with Image.open(path) as picture:
    picture.verify()
    assert picture.format == 'PNG'
  assert [p.name for p in path.parent.iterdir()] == ['full.png']


def test_a_diverged_seed_is_left_out(tmp_path, monkeypatch):
  seen = []
  monkeypatch.setattr(alpha, '_per_layer', lambda _, x, *a, **k: seen.append(x))
  found = _diagnostics(6, replicas=3)
  found.values['update_norm'][1, 1, 4] = NAN
  alpha.draw(found, (0.2, 2.0), tmp_path / 'x' / 'full.png', '')
  expected = found.values['alpha_mean'][[0, 2]].mean(axis=0)
  np.testing.assert_allclose(seen[0], expected)
  assert all(np.isfinite(x).all() for x in seen)
