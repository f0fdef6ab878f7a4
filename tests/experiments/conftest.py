"""What the tests of trainings share."""

import jax
import pytest

from tests.experiments import program


@pytest.fixture
def folder(tmp_path_factory):
  """Beside it lie the output and what was compiled, for all tests."""
  return tmp_path_factory.mktemp('folder')


@pytest.fixture
def one_device(monkeypatch):
  """The tests have more, over which trials would be split."""
  monkeypatch.setattr(jax, 'device_count', lambda: 1)


@pytest.fixture(scope='module')
def finished(request, tmp_path_factory):
  """A run that nothing disturbed: its directory, and how it ended.

  The module's `TINY` are its flags.
  """
  folder = tmp_path_factory.mktemp('finished')
  result = program.run(folder, *request.module.TINY, program.WORKDIR)
  assert (result.code, result.stderr) == (0, '')
  return folder / 'my run', result
