"""The overview has the curves of all arms, and what α did in one."""

import numpy as np
from PIL import Image

from experiments.reporting import overview
from experiments.training import records


def _history(**diagnostics):
  history = records.History(2)
  for epoch in (1, 2):
    metrics = dict.fromkeys(records.METRICS, 1 / epoch)
    history.append(**metrics)
  history.diagnostics.leaves = ['head/kernel']
  history.diagnostics.values = diagnostics
  return history


def test_the_picture_is_whole(tmp_path):
  counts = np.random.default_rng(0).integers(0, 9, (2, 2, 1, 64))
  histories = {'adam': _history(), 'full': _history(alpha_histogram=counts)}
  path = tmp_path / 'overview.png'
  overview.draw(histories, 'full', (0.2, 2.0), path, 'digits, mlp')
  with Image.open(path) as picture:
    picture.verify()
  with Image.open(path) as picture:
    assert picture.size == (1320, 504)
    assert np.asarray(picture.convert('L')).std() > 5  # It is not blank.
