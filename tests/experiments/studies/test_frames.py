"""Tables are read as they are written, and older ones with fewer columns."""

import gzip
from pathlib import Path

import numpy as np
import pytest

from experiments import errors
from experiments.studies import frames
from tests.experiments.studies.results import row

RESULTS = Path(__file__).parents[3] / 'experiments' / 'results'
ROWS = [
  row('sgd', 0, 0.1, steps_to_target=46.0, validation_accuracy=1 / 3),
  row('sgd', 1, 1e-05, hyperparameters='{"a": 1, "b": 2}'),
  row('none', 2, np.nan, 'diverged', steps_to_target=np.inf),
]


@pytest.fixture(name='text')
def _text(tmp_path):
  """A table of three rows, which is there."""
  frames.write(tmp_path, 'results', frames.make('results', [ROWS]))
  return (tmp_path / 'results.csv').read_text()


def test_text_of_a_table(text):
  assert text.splitlines()[1:] == [
    'here,default,sgd,0,{},0.3333333333333333,0.1,46,0.5,finished',
    'here,default,sgd,1,"{""a"": 1, ""b"": 2}",,1e-05,100,0.5,finished',
    'here,default,none,2,{},,,inf,0.5,diverged',
  ]


def test_committed_tables_are_written_as_they_were(tmp_path):
  names = set()
  for name in frames.TABLES:
    # The smallest one of each, unpacked or packed.
    path = min(
      RESULTS.glob(f'*/{name}.csv*'),
      key=lambda x: (x.stat().st_size < 100, x.stat().st_size),
    )
    content = path.read_bytes()
    expected = gzip.decompress(content) if path.suffix == '.gz' else content
    found = frames.read(path.parent, name)
    assert list(found) == list(frames.TABLES[name])
    frames.write(tmp_path, name, found)
    assert (tmp_path / f'{name}.csv').read_bytes() == expected
    names.add(path.suffix)
  assert names == {'.csv', '.gz'}


def test_tables_without_rows_or_file_have_all_columns(tmp_path):
  frames.write(tmp_path, 'alpha', frames.make('alpha', []))
  for name in ('alpha', 'curves'):
    found = frames.read(tmp_path, name)
    assert found.empty
    assert list(found) == list(frames.TABLES[name])
    assert found['epoch'].dtype == 'int64'
    assert found.dtypes.iloc[-1] == 'float64'


def test_a_column_may_be_missing_or_new(tmp_path, text):
  lines = [line + ',7' for line in text.splitlines()]
  lines[0] = lines[0].replace(',7', ',new').replace('test_acc', 'old_acc')
  (tmp_path / 'results.csv').write_text('\n'.join(lines) + '\n')
  found = frames.read(tmp_path, 'results')
  assert found['test_accuracy'].isna().all()
  assert found['new'].to_list() == ['7', '7', '7']
  assert list(found)[:10] == list(frames.TABLES['results'])


@pytest.mark.parametrize(
  ('change', 'why'),
  [
    (lambda x: '', 'No columns'),
    (lambda x: x.replace('seed,', 'sed,', 1), "no column 'seed'"),
    (lambda x: x.replace(',1,', ',one,'), 'one'),
    (lambda x: x.replace(',1,', ',,'), ''),
    (lambda x: x.replace('46', 'soon'), 'soon'),
    (lambda x: x.replace('{}', '{'), 'Expecting'),
    (lambda x: x.replace(',0,', ',99999999999999999999999,'), ''),
    (lambda x: x.replace('finished', 'finished,7', 1), 'more values than'),
    (lambda x: x.replace('diverged', 'diverged,7', 1), 'Expected 10 fields'),
    (lambda x: x.encode('utf-16'), "'utf-8' codec"),
  ],
)  # fmt: skip
def test_unreadable_table_is_one_sentence(tmp_path, text, change, why):
  content = change(text)
  content = content if isinstance(content, bytes) else content.encode()
  (tmp_path / 'results.csv').write_bytes(content)
  with pytest.raises(errors.StorageError, match=f'cannot read .*csv: .*{why}'):
    frames.read(tmp_path, 'results')


@pytest.mark.parametrize('change', [lambda x: x[:90], lambda x: x[10:]])
def test_unreadable_packed_table_is_one_sentence(tmp_path, text, change):
  (tmp_path / 'results.csv').unlink()
  packed = tmp_path / 'results.csv.gz'
  packed.write_bytes(change(gzip.compress(text.encode())))
  with pytest.raises(errors.StorageError, match=r'cannot read .*csv\.gz: '):
    frames.read(tmp_path, 'results')
