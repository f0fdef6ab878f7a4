"""The campaign of faults, in short; `python -m tests.faults` is the whole."""

import json

import pytest

from experiments import checksums
from tests import faults


@pytest.mark.slow
def test_whatever_happens_it_ends_as_if_nothing_had(tmp_path):
  kinds = ('SIGKILL', 'truncated', 'writers')
  figures, wrong = faults.campaign(
    ('stream',), kinds, points=1, folder=tmp_path / 'faults'
  )
  assert not wrong
  assert list(figures) == [('stream', kind) for kind in kinds]
  assert all(sum(found.values()) == 1 for found in figures.values())


def test_only_what_a_clock_says_may_differ(tmp_path):
  def write(folder, seconds, accuracy):
    folder.mkdir()
    (folder / 'metrics.csv').write_text(
      f'arm,train_seconds,accuracy\nsgd,{seconds},{accuracy}\n'
    )
    (folder / 'results.json').write_text(
      json.dumps({'sgd': {'seconds': seconds, 'accuracy': [accuracy]}})
    )
    (folder / 'curves.png').write_bytes(b'picture')
    checksums.write(folder)
    return faults.outcome(folder)

  one = write(tmp_path / 'one', 1.0, 0.5)
  assert set(one) == {
    *('metrics.csv', 'results.json', 'curves.png', checksums.FILE)
  }
  assert one == write(tmp_path / 'other', 2.0, 0.5)
  worse = write(tmp_path / 'worse', 1.0, 0.4)
  assert all(worse[name] != one[name] for name in list(one)[2:])
  (tmp_path / 'other' / checksums.FILE).write_text('0  results.json\n')
  found = faults.outcome(tmp_path / 'other')
  assert found[checksums.FILE] != one[checksums.FILE]
