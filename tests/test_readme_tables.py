"""The README's tables of results are what the committed studies say."""

import pytest

from tests import readme_tables

BLOCKS = readme_tables.blocks(readme_tables.README.read_text(encoding='utf-8'))


@pytest.mark.parametrize(('specification', 'table'), BLOCKS)
def test_tables_are_those_of_the_studies(specification, table):
  assert table == readme_tables.made(specification)


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
