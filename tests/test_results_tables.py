"""Tables and pictures of results are what the committed studies say."""

import re

import pytest

from experiments.studies import frames
from tests import results_tables
from tests.results_tables import DOCUMENTS

NUMBER = r'([+−]?\d+\.\d+)'
PICTURES = [x for each in DOCUMENTS for x in results_tables.pictures(each)]


@pytest.mark.parametrize('document', DOCUMENTS)
def test_tables_remade_are_the_same(document):
  text = document.read_text(encoding='utf-8')
  assert results_tables.remade(text) == text


@pytest.mark.parametrize(('kind', 'specification', 'path'), PICTURES)
def test_pictures_show_the_committed_rows(kind, specification, path):
  assert results_tables.source_of(path) == results_tables.source(
    kind, specification
  ), 'python -m tests.results_tables draws it anew.'


def test_differences_in_sentences_are_those_of_a_study():
  """No comment says of which; they are looked for in all of them."""
  found = []
  for study in results_tables.STUDIES.iterdir():
    rows = frames.read(study, 'comparisons').dropna(subset='ci_low')
    table = 100 * rows[['mean_difference', 'ci_low', 'ci_high']].to_numpy()
    found += [*table.tolist(), *(-table[:, [0, 2, 1]]).tolist()]
  text = '\n'.join(x.read_text(encoding='utf-8') for x in DOCUMENTS)
  prose = re.sub(r'(?m)^(\|.*|<!--.*)$', '', text)
  quoted = re.findall(rf'{NUMBER}\s+\[{NUMBER},\s+{NUMBER}\]', prose)
  assert len(quoted) > 15
  for numbers in quoted:
    places = [len(x.partition('.')[2]) for x in numbers]
    wanted = [float(x.replace('−', '-')) for x in numbers]
    assert any(
      [round(x, n) for x, n in zip(each, places, strict=True)] == wanted
      for each in found
    ), numbers
