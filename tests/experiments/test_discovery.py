"""What modules register keeps its name."""

import pytest

from experiments import discovery


def test_a_name_is_given_once():
  registry = discovery.Registry()
  registry['sgd'] = 1
  with pytest.raises(ValueError, match="'sgd' is registered twice"):
    registry['sgd'] = 2
  assert registry == {'sgd': 1}
