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
  assert file == readme_tables.ROOT / path
  assert readme_pictures.source_of(file) == readme_pictures.source(
    kind, specification
  ), 'python -m tests.readme_pictures draws it anew.'
