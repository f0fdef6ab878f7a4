"""A small part of `python -m tests.faults`."""

import numpy as np
import pytest

from tests import faults


@pytest.mark.slow
@pytest.mark.parametrize('name', ['train', 'stream'])
def test_disturbed_program_ends_with_the_same_numbers(tmp_path, name):
  random = np.random.default_rng(0)
  campaign = faults.Campaign(name, tmp_path / 'faults', random)
  assert campaign.point('SIGKILL', 0) == 'the same'
  campaign.point('truncated', 0)
