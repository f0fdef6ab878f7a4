"""The README's tables of results are what the committed studies say."""

import pytest

from tests import readme_tables

BLOCKS = readme_tables.blocks(readme_tables.README.read_text(encoding='utf-8'))


@pytest.mark.parametrize(('kind', 'specification', 'table'), BLOCKS)
def test_tables_are_those_of_the_studies(kind, specification, table):
  assert table == readme_tables.made(kind, specification)


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
