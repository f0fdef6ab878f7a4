"""The README's tables of results are what the committed studies say."""

import re

import pytest

from experiments.studies import columns
from tests import readme_tables

TEXT = readme_tables.README.read_text(encoding='utf-8')
BLOCKS = readme_tables.blocks(TEXT)
NUMBER = r'([+−]?\d+\.\d+)'


@pytest.mark.parametrize(('kind', 'specification', 'table'), BLOCKS)
def test_tables_are_those_of_the_studies(kind, specification, table):
  assert table == readme_tables.made(kind, specification)


@pytest.fixture(scope='module')
def differences():
  """All differences of the studies with their intervals, in points."""
  found = []
  for path in readme_tables.STUDIES.glob('*/comparisons.csv'):
    for row in columns.table(path, {}):
      if row['ci_low']:
        names = ('mean_difference', 'ci_low', 'ci_high')
        mean, low, high = (100 * float(row[name]) for name in names)
        found += [(mean, low, high), (-mean, -high, -low)]
  return found


def test_differences_with_an_interval_are_those_of_a_study(differences):
  """In sentences, where no comment says which."""
  prose = re.sub(r'(?m)^(\|.*|<!--.*)$', '', TEXT)
  quoted = re.findall(rf'{NUMBER}\s+\[{NUMBER},\s+{NUMBER}\]', prose)
  assert len(quoted) > 15
  for numbers in quoted:
    places = [len(x.partition('.')[2]) for x in numbers]
    wanted = [float(x.replace('−', '-')) for x in numbers]
    assert any(
      [round(x, n) for x, n in zip(each, places, strict=True)] == wanted
      for each in differences
    ), numbers


def test_a_table_is_the_mean_of_the_seeds(tmp_path, monkeypatch):
  (tmp_path / 'small').mkdir()
  (tmp_path / 'small' / 'results.csv').write_text(
    'condition,ruleset,arm,seed,test_accuracy,status\n'
    'here,tuned,adam,0,0.5,finished\n'
    'here,tuned,adam,1,0.6,finished\n'
    'here,tuned,adam,2,0.9,diverged\n'
    'here,default,adam,0,0.1,finished\n'
  )
  (tmp_path / 'small' / 'study.json').write_text(
    '{"conditions": {"here": {"chance": 0.1}}}'
  )
  monkeypatch.setattr(readme_tables, 'STUDIES', tmp_path)
  text = 'a\n<!-- results: small tuned here adam -->\n| old |\n\nb\n'
  assert readme_tables.rewritten(text) == (
    'a\n<!-- results: small tuned here adam -->\n'
    '| optimizer | `here` |\n| --- | --- |\n'
    '| `adam` | 40.00 ± 26.46 (1 of 3 diverged) |\n\nb\n'
  )


def test_measures_of_streams(tmp_path, monkeypatch):
  (tmp_path / 'small').mkdir()
  (tmp_path / 'small' / 'streams.csv').write_text(
    'condition,ruleset,arm,seed,measure,value,status\n'
    + ''.join(
      f'here,tuned,sgd,{seed},online_accuracy_{which}_tenth,{value},{status}\n'
      for which, values in (('first', (0.5, 0.6, '')), ('last', (0.4, 0.7, '')))
      for seed, (value, status) in enumerate(
        zip(values, ('finished', 'finished', 'diverged'), strict=True)
      )
    )
  )
  (tmp_path / 'small' / 'measures.csv').write_text(
    'condition,ruleset,arm,task,measure,n,mean,sd\n'
    'here,tuned,sgd,1,weight_norm,3,18.54,0.06\n'
    'here,tuned,sgd,10,weight_norm,3,38.4,0.5\n'
  )
  monkeypatch.setattr(readme_tables, 'STUDIES', tmp_path)
  assert readme_tables.made(
    'streams',
    'small tuned here online_accuracy_first_tenth,online_accuracy_change sgd',
  ) == (
    '| optimizer | seeds | first tenth (%) | last − first tenth (points) |\n'
    '| --- | --- | --- | --- |\n'
    '| `sgd` | 3 (1 of 3 diverged) | 55.00 ± 7.07 | +0.00 ± 14.14 |\n'
  )
  assert readme_tables.made(
    'tasks', 'small tuned here weight_norm 1,10 sgd'
  ) == (
    '| ‖w‖ in task | 1 | 10 |\n| --- | --- | --- |\n'
    '| `sgd` | 18.5 ± 0.1 | 38.4 ± 0.5 |\n'
  )


def test_paired_differences(tmp_path, monkeypatch):
  (tmp_path / 'small').mkdir()
  (tmp_path / 'small' / 'comparisons.csv').write_text(
    'condition,ruleset,arm,reference,n,mean_difference,ci_low,ci_high,p_holm\n'
    'here,tuned,full,sgd,20,0.0073,0.0053,-0.0093,0.0000003\n'
    'here,tuned,full,adamw,20,0.1,0.1,0.1,0.5\n'
    'here,tuned,adam,sgd,5,-0.05,-0.06,-0.04,0.0213\n'
  )
  monkeypatch.setattr(readme_tables, 'STUDIES', tmp_path)
  assert readme_tables.made(
    'differences', 'small tuned here sgd full,adam'
  ) == (
    '| optimizer | pairs | points above `sgd` | p (Holm) |\n'
    '| --- | --- | --- | --- |\n'
    '| `full` | 20 | +0.73 [+0.53, −0.93] | < 0.001 |\n'
    '| `adam` | 5 | −5.00 [−6.00, −4.00] | 0.021 |\n'
  )
