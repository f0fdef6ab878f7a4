"""The wheel holds the library alone, and works where nothing else is."""

from pathlib import Path
import subprocess
import sys
import zipfile

import pytest

ROOT = Path(__file__).parents[1]

USE = """
import jax.numpy as jnp
import neuroplastic_optax as npo
tx = npo.neuroplastic_optimizer(0.1)
x = jnp.ones(3)
print(npo.__file__, tx.update(x, tx.init(x), x)[0].shape)
"""


@pytest.mark.slow
def test_the_wheel(tmp_path):
  run = lambda *args, **kwargs: subprocess.run(
    [sys.executable, *args], check=True, capture_output=True, text=True,
    **kwargs,
  )  # fmt: skip
  run('-m', 'build', '--outdir', str(tmp_path), str(ROOT))
  (wheel,) = tmp_path.glob('*.whl')
  assert len(list(tmp_path.glob('*.tar.gz'))) == 1
  names = zipfile.ZipFile(wheel).namelist()
  tops = {name.split('/')[0] for name in names}
  assert {top for top in tops if not top.endswith('.dist-info')} == {
    'neuroplastic_optax'
  }
  assert 'neuroplastic_optax/py.typed' in names
  installed, empty = tmp_path / 'installed', tmp_path / 'empty'
  empty.mkdir()
  run('-m', 'pip', 'install', '--no-deps', '--target', installed, wheel)
  path = f'import sys; sys.path.insert(0, {str(installed)!r})'
  found = run('-c', path + USE, cwd=empty).stdout
  assert found.startswith(str(installed))
  assert found.endswith('(3,)\n')
