"""What the tests of the engine share."""

import jax
import pytest


@pytest.fixture
def one_device(monkeypatch):
  """The tests have more, over which trials would be split."""
  monkeypatch.setattr(jax, 'device_count', lambda: 1)
