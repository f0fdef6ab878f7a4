"""A small part of `python -m tests.faults`."""

import pytest

from tests import faults


@pytest.mark.slow
@pytest.mark.parametrize('name', ['train', 'stream'])
def test_disturbed_program_ends_with_the_same_numbers(tmp_path, name):
  folder = tmp_path / 'faults'
  folder.mkdir()
  how = faults.disturbed(name, 'SIGKILL', folder / 'killed', 0)
  assert how == 'the same'
  how = faults.disturbed(name, 'truncated', folder / 'truncated', 0)
  assert how in ('the same', 'refused')
