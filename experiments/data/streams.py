"""Streams: tasks that follow one another on the images of one data set.

A new stream is a new entry of `STREAMS`. What a task draws, it draws from a
key, inside of the program that trains: see `training.tasks`.
"""

import dataclasses

import jax
import jax.numpy as jnp

from experiments import errors

LABELS, INPUTS, RANDOM, CLASSES = 'labels', 'inputs', 'random', 'classes'


@dataclasses.dataclass(frozen=True)
class Stream:
  """What changes from task to task, and how long a task is.

  Sizes are those of the published protocol; a data set that has fewer images
  makes them smaller.

  Attributes:
    description: what it is, in a sentence.
    changes: what every task draws anew: `labels`, a permutation of the classes;
      `inputs`, one of the pixels; `random`, the label of every image. Or
      `classes`: the tasks share out the classes among them.
    images: how many training images a trial learns from, drawn from its seed;
      None for all.
    updates: of a task; None for one pass over these images.
    batch_size: examples an update.
    tasks: how many.
    model: what it trains by default.
    heads: whether every task has outputs of its own, and is told which.
  """

  description: str
  changes: str
  images: int | None = 10_000
  updates: int | None = None
  batch_size: int = 16
  tasks: int = 60
  model: str = 'mlp_small'
  heads: bool = False

  @property
  def splits(self) -> bool:
    """Whether each task has classes that no other has."""
    return self.changes == CLASSES


STREAMS = {
  'permuted_labels': Stream(
    'the classes are permuted anew with every task', LABELS
  ),
  'permuted_inputs': Stream(
    'the pixels are permuted anew with every task', INPUTS
  ),
  'random_labels': Stream(
    'every image has a random label, another one in every task: memorisation',
    RANDOM,
    images=1_200,
    updates=1_500,
    tasks=20,
  ),
  'split': Stream(
    'every task has classes of its own; one head for all (class-incremental)',
    CLASSES,
    images=None,
    updates=600,
    batch_size=128,
    tasks=5,
    model='mlp_wide',
  ),
  'split_heads': Stream(
    'every task has classes and a head of its own (task-incremental)',
    CLASSES,
    images=None,
    updates=600,
    batch_size=128,
    tasks=5,
    model='mlp_wide',
    heads=True,
  ),
  # As of arXiv:2407.01704, for comparison with what is published there.
  'online_permuted_inputs': Stream(
    'the pixels are permuted after every 50,000 examples, one an update',
    INPUTS,
    images=None,
    updates=50_000,
    batch_size=1,
    tasks=10,
    model='mlp_leaky',
  ),
}


def check_split(count: int, num_classes: int, dataset: str) -> None:
  """Refuses a number of tasks among which classes cannot be shared out.

  Raises:
    InvalidValueError: a task would not have as many classes as the others, and
      at least two.
  """
  fits = [n for n in range(2, num_classes // 2 + 1) if num_classes % n == 0]
  if not fits:
    raise errors.InvalidValueError(
      'config.dataset must have classes that can be shared out among two tasks '
      f'or more, two or more each, got {dataset!r} with {num_classes} classes.'
    )
  if count not in fits:
    allowed = ' or '.join(map(str, fits))
    raise errors.InvalidValueError(
      f'config.tasks must be {allowed}, which divide the {num_classes} classes '
      f'of {dataset} into two or more a task, got {count}.'
    )


def permute_labels(
  key: jax.Array, labels: jax.Array, num_classes: int
) -> jax.Array:
  """Gives every class the label of one, each permutation as likely."""
  return jax.random.permutation(key, num_classes)[labels]


def random_labels(key: jax.Array, count: int, num_classes: int) -> jax.Array:
  """Draws int32 [count], each label as likely, whatever the image."""
  return jax.random.randint(key, (count,), 0, num_classes)


def pixel_order(key: jax.Array, shape: tuple[int, ...]) -> jax.Array:
  """Draws int32 [h · w]: where each pixel of images [n, h, w, c] comes from."""
  _, height, width, _ = shape
  return jax.random.permutation(key, height * width)


def permute_inputs(images: jax.Array, order: jax.Array) -> jax.Array:
  """The images [b, h, w, c] with pixel `order[i]` in the place of pixel i."""
  flat = images.reshape(len(images), len(order), -1)
  return flat[:, order].reshape(images.shape)


def class_positions(key: jax.Array, num_classes: int) -> jax.Array:
  """Draws int32 [classes]: the place of each class in the order of a stream.

  With n classes a task, those at places t · n to t · n + n − 1 are task t's.
  """
  return jnp.argsort(jax.random.permutation(key, num_classes))
