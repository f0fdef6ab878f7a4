"""The README's pictures of results show what the committed studies say."""

import pytest

from tests import readme_pictures
from tests import readme_tables

BLOCKS = readme_pictures.blocks(
  readme_tables.README.read_text(encoding='utf-8')
)


@pytest.mark.parametrize(('kind', 'specification', 'path'), BLOCKS)
def test_pictures_are_those_of_the_studies(kind, specification, path):
  file = readme_pictures.path(specification)
  assert file == readme_tables.README.parent / path
  assert readme_pictures.source_of(file) == readme_pictures.source(
    kind, specification
  ), 'python -m tests.readme_pictures draws it anew.'


@pytest.mark.parametrize(
  ('kind', 'specification'),
  [
    ('lines', 'streams x permuted_labels dead_units default/sgd,tuned/upgd'),
    ('forest', 'streams x permuted_labels sgd upgd,adamw'),
  ],
)
def test_a_picture_says_which_rows_it_shows(
  kind, specification, tmp_path, monkeypatch
):
  file = tmp_path / 'x.png'
  monkeypatch.setattr(readme_pictures, 'path', lambda _: file)
  readme_pictures.write(kind, specification)
  found = readme_pictures.source_of(file)
  assert found == readme_pictures.source(kind, specification)
  fewer = specification.rpartition(',')[0]
  assert found != readme_pictures.source(kind, fewer)
