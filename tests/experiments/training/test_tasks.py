"""The batches of each task of a stream, the same for every arm of a seed."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments import data
from experiments import errors
from experiments.data import streams
from experiments.training import engine
from experiments.training import tasks
from experiments.training import trials
from tests.experiments.training import diary

pytestmark = pytest.mark.slow

# Images of one pixel, which is their number; 0, 1, 2, 3, 0, …
COUNT = 42
NUMBERS = diary.numbers(train=COUNT, test=20, classes=4)


def _sized(name, dataset, **sizes):
  return tasks.make_tasks(streams.STREAMS[name], dataset, **sizes)


@dataclasses.dataclass
class Fed:
  """All batches of a stream for one seed, as NumPy arrays [tasks, updates]."""

  name: str
  sizes: dict
  dataset: data.Dataset = NUMBERS
  seed: int = 7

  @functools.cached_property
  def feed(self):
    return _sized(self.name, self.dataset, **self.sizes)

  @functools.cached_property
  def trial(self):
    found = trials.make_trials(
      self.dataset, [self.seed], images=self.feed.images
    )
    return jax.tree.map(lambda x: x[0], found)

  @functools.cached_property
  def pixels(self):
    return engine.to_device(self.dataset)

  @functools.cached_property
  def batches(self):
    """Each task in one call, as a training does it that nobody interrupts."""

    @jax.jit
    def task(trial, pixels, first):
      def step(plan, at):
        batch, plan = self.feed.batch(plan, trial, pixels, at)
        return plan, batch

      plan = self.feed.plan(trial, pixels, first)
      return jax.lax.scan(step, plan, first + jnp.arange(self.feed.updates))[1]

    each = [
      task(self.trial, self.pixels, jnp.int32(i * self.feed.updates))
      for i in range(self.feed.count)
    ]
    return jax.tree.map(lambda *x: np.stack(x), *each)

  @property
  def numbers(self):
    """Which images: [tasks, updates, batch]."""
    return self.batches.images[..., 0, 0, 0]


SMALL = {'count': 4, 'batch_size': 5}
CASES = {
  'permuted_labels': SMALL,
  'permuted_inputs': SMALL,
  'random_labels': {**SMALL, 'updates': 20},
  'split': {'count': 2, 'batch_size': 6, 'updates': 9},
  'split_heads': {'count': 2, 'batch_size': 6, 'updates': 9},
}


@functools.cache
def _fed(name, seed=7):
  return Fed(name, CASES[name], seed=seed)


@pytest.mark.parametrize(
  ('name', 'dataset', 'expected'),
  [
    # tasks, updates, batch, images, batches of a pass, evaluated
    ('permuted_labels', (60_000, 10, 10), (60, 625, 16, 10_000, 625, 0)),
    ('permuted_inputs', (60_000, 10, 10), (60, 625, 16, 10_000, 625, 0)),
    ('random_labels', (60_000, 10, 10), (20, 1_500, 16, 1_200, 75, 0)),
    ('split', (60_000, 10_000, 10), (5, 600, 128, 60_000, 93, 200)),
    ('split_heads', (60_000, 10_000, 10), (5, 600, 128, 60_000, 93, 200)),
    (
      *('online_permuted_inputs', (60_000, 10, 10)),
      (10, 50_000, 1, 60_000, 60_000, 0),
    ),
    # The digits, and what is smaller than a batch.
    ('permuted_labels', (1437, 360, 10), (60, 89, 16, 1437, 89, 0)),
    ('random_labels', (1437, 360, 10), (20, 1_500, 16, 1_200, 75, 0)),
    ('split', (1440, 360, 10), (5, 600, 128, 1440, 2, 72)),
    ('permuted_inputs', (9, 10, 3), (60, 1, 9, 9, 1, 0)),
  ],
)
def test_streams_have_the_published_sizes_or_those_of_the_data(
  name, dataset, expected
):
  train, test, classes = dataset
  labels = lambda n: np.arange(n, dtype=np.int32) % classes
  dataset = dataclasses.replace(
    NUMBERS,
    spec=dataclasses.replace(NUMBERS.spec, num_classes=classes),
    train_labels=labels(train),
    test_labels=labels(test),
  )
  found = _sized(name, dataset)
  assert (
    *(found.count, found.updates, found.batch_size),
    *(found.images, found.pass_batches, found.evaluated),
  ) == expected


@pytest.mark.parametrize('name', ['permuted_labels', 'permuted_inputs'])
def test_each_task_is_one_pass_in_its_own_order(name):
  orders = _fed(name).numbers.reshape(4, -1)
  for order in orders:
    assert len(set(order.tolist())) == 40  # Of 42, in 8 batches of 5.
  for i, one in enumerate(orders):
    for other in orders[:i]:
      assert (one != other).sum() > 20


def test_passes_have_their_own_orders_and_cover_all_images():
  numbers = _fed('random_labels').numbers
  assert numbers.shape == (4, 20, 5)
  for task in numbers:
    # 20 updates: two passes of 8 batches, and half of a third.
    first, second = task[:8].ravel(), task[8:16].ravel()
    assert len(set(first.tolist())) == len(set(second.tolist())) == 40
    assert (first != second).sum() > 20
  assert len(set(numbers.ravel().tolist())) == COUNT


def test_labels_are_permuted_and_the_same_within_a_task():
  fed = _fed('permuted_labels')
  permutations = []
  for numbers, labels in zip(fed.numbers, fed.batches.labels, strict=True):
    found = {n % 4: x for n, x in zip(numbers.flat, labels.flat, strict=True)}
    assert sorted(found.values()) == [0, 1, 2, 3]
    np.testing.assert_array_equal(
      labels, np.vectorize(lambda n, found=found: found[n % 4])(numbers)
    )
    permutations.append(tuple(found[i] for i in range(4)))
  assert len(set(permutations)) > 1


def test_random_labels_stay_with_their_image_within_a_task():
  fed = _fed('random_labels')
  tables = []
  for numbers, labels in zip(fed.numbers, fed.batches.labels, strict=True):
    table = {}
    for number, label in zip(numbers.flat, labels.flat, strict=True):
      assert table.setdefault(number, label) == label
    tables.append(table)
  # That they are independent is a test of `data.streams`.
  for i, one in enumerate(tables):
    assert all(one != other for other in tables[:i])


def test_pixels_are_permuted_and_the_same_within_a_task():
  # The images have no pixel in common.
  pixels = np.arange(72, dtype=np.uint8).reshape(12, 2, 3, 1)
  labels = np.arange(12, dtype=np.int32) % 4
  dataset = data.Dataset(
    data.Spec('numbers', shape=(2, 3, 1), num_classes=4, pixel_max=1),
    *(pixels[:8], labels[:8], pixels[8:], labels[8:]),
  )
  fed = Fed('permuted_inputs', {'count': 3, 'batch_size': 2}, dataset)
  images = fed.batches.images.reshape(3, 8, 6)
  numbers = images.min(-1) // 6
  originals = pixels.reshape(12, 6)[numbers]
  # Where each pixel of an image comes from: [tasks, images, pixels].
  orders = (images[..., None] == originals[..., None, :]).argmax(-1)
  np.testing.assert_array_equal(
    orders, np.broadcast_to(orders[:, :1], orders.shape)
  )
  assert len({tuple(order[0]) for order in orders}) == 3
  # The labels are unchanged.
  np.testing.assert_array_equal(
    numbers % 4, fed.batches.labels.reshape(numbers.shape)
  )


@pytest.mark.parametrize('name', ['split', 'split_heads'])
def test_split_gives_each_task_its_own_classes(name):
  fed = _fed(name)
  classes = []
  for task, (numbers, labels) in enumerate(
    zip(fed.numbers, fed.batches.labels, strict=True)
  ):
    assert {*(labels.ravel() // 2).tolist()} == {task}
    pairs = {*zip((numbers % 4).flat, labels.flat, strict=True)}
    assert len(pairs) == 2
    classes += [number for number, _ in sorted(pairs, key=lambda x: x[1])]
    # Two classes have at least 20 images: a pass takes 18 of them.
    assert len(set(numbers[:3].ravel().tolist())) == 18
    assert len(set(numbers.ravel().tolist())) > 18
  assert sorted(classes) == [0, 1, 2, 3]
  allowed = fed.batches.allowed
  if name == 'split':
    assert allowed is None
  else:
    expected = np.array([[1, 1, 0, 0], [0, 0, 1, 1]], bool)
    np.testing.assert_array_equal(allowed, np.repeat(expected[:, None], 9, 1))


def test_the_order_of_the_classes_depends_on_the_seed():
  firsts = set()
  for seed in range(12):
    fed = _fed('split', seed)
    firsts.add(frozenset((fed.numbers[0] % 4).ravel().tolist()))
  assert len(firsts) > 2


@pytest.mark.parametrize('name', ['split', 'split_heads'])
def test_evaluation_has_equally_many_test_images_of_each_task(name):
  fed = _fed(name)
  plan = fed.feed.plan(fed.trial, fed.pixels, jnp.int32(0))
  batch = fed.feed.test(plan, fed.trial, fed.pixels)
  images = np.asarray(batch.images)[:, 0, 0, 0].reshape(2, 10)
  labels = np.asarray(batch.labels).reshape(2, 10)
  assert images.min() >= COUNT
  assert len(np.unique(images)) == 20
  for task in (0, 1):
    numbers, learned = fed.numbers[task], fed.batches.labels[task]
    taught = dict(zip((numbers % 4).flat, learned.flat, strict=True))
    assert [taught[n % 4] for n in images[task]] == labels[task].tolist()
  # Whatever the task under way, the same.
  later = fed.feed.plan(fed.trial, fed.pixels, jnp.int32(13))
  np.testing.assert_array_equal(plan.test, later.test)
  if name == 'split_heads':
    assert batch.allowed.shape == (20, 4)
    np.testing.assert_array_equal(batch.allowed[0], [1, 1, 0, 0])
    np.testing.assert_array_equal(batch.allowed[-1], [0, 0, 1, 1])


def test_seeds_differ_in_tasks_and_orders():
  one, other = (_fed('permuted_labels', seed) for seed in (7, 8))
  assert (one.numbers != other.numbers).any()
  assert (one.batches.labels != other.batches.labels).any()


def test_each_trial_has_its_own_images():
  found = trials.make_trials(NUMBERS, [0, 1, 2], images=10)
  assert found.indices.shape == found.labels.shape == (3, 10)
  for indices, labels in zip(found.indices, found.labels, strict=True):
    assert len(np.unique(indices)) == 10
    np.testing.assert_array_equal(labels, np.asarray(indices) % 4)
  assert len(np.unique(np.asarray(found.indices), axis=0)) == 3


def test_class_without_images_is_refused():
  kept = NUMBERS.test_labels != 2
  dataset = dataclasses.replace(
    NUMBERS,
    test_labels=NUMBERS.test_labels[kept],
    test_images=NUMBERS.test_images[kept],
  )
  with pytest.raises(errors.InvalidValueError, match='numbers has classes'):
    _sized('split', dataset, count=2)
