"""The engine on streams: the parameters it learns, and its measures."""

import dataclasses
import functools
from typing import Any, NamedTuple

from flax import nnx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from scipy import special

from experiments.data import streams
from experiments.training import engine
from experiments.training import stream_engine
from experiments.training import tasks
from experiments.training import trials
from experiments.training.records import leaf_name
from neuroplastic_optax import mechanisms
from tests.experiments import program
from tests.experiments.training import diary
from tests.experiments.training.diary import assert_same
from tests.experiments.training.diary import to_numpy

pytestmark = [pytest.mark.usefixtures('one_device'), pytest.mark.slow]

RATE = 20.0
CLASSES = 4


DATASET = diary.numbers(train=42, test=20, classes=CLASSES)


class Table(nnx.Module):
  """A row of logits for each number; the number itself is the one feature."""

  def __init__(self, shape, num_classes, *, rngs):
    del shape
    start = jax.random.normal(rngs.params(), (64, num_classes))
    self.rows = nnx.Param(start)

  def features(self, images):
    return (images[:, 0, 0],)

  def __call__(self, images, *, train, key=None):
    del train, key
    return self.rows[...][images[:, 0, 0, 0].astype(jnp.int32)]


class Dropped(Table):
  """The same, but that training sees nothing of the images."""

  def __init__(self, shape, num_classes, *, rngs):
    super().__init__(shape, num_classes, rngs=rngs)
    self.dropout = nnx.Dropout(1.0)

  def __call__(self, images, *, train, key=None):
    logits = super().__call__(images, train=train)
    return self.dropout(logits, deterministic=not train, rngs=key)


class Received(NamedTuple):
  """The extra arguments of the updates so far."""

  new_tasks: jax.Array
  updates: jax.Array
  value: jax.Array


def _recording(rate):
  """SGD that records its extra arguments."""

  def init(params):
    del params
    zero = jnp.zeros([], jnp.int32)
    return Received(zero, zero, jnp.float32(0))

  def update(grads, state, params, *, new_task, value_fn, value, **_):
    state = Received(
      # Bit i is set if update i began a task.
      state.new_tasks + new_task * 2**state.updates,
      state.updates + 1,
      value_fn(params) - value,
    )
    return jax.tree.map(lambda x: -rate * x, grads), state

  return optax.GradientTransformationExtraArgs(init, update)


RECORDING = lambda numbers: _recording(numbers['learning_rate'])


@dataclasses.dataclass(frozen=True)
class Run:
  """A stream, trained as a session trains it."""

  name: str = 'permuted_labels'
  count: int = 3
  updates: int | None = None
  batch_size: int = 5
  model: Any = Table
  optimizer: Any = diary.SGD
  seeds: tuple[int, ...] = (3, 4)
  lanes: int | None = 1
  restart: bool = False
  eval_params: Any = None
  inactive: bool = False

  @functools.cached_property
  def tasks(self):
    return tasks.make_tasks(
      streams.STREAMS[self.name],
      DATASET,
      count=self.count,
      updates=self.updates,
      batch_size=self.batch_size,
    )

  @functools.cached_property
  def trainer(self):
    return stream_engine.StreamTrainer(
      spec=DATASET.spec,
      make_model=self.model,
      make_optimizer=self.optimizer,
      batch_size=self.batch_size,
      lanes=self.lanes,
      eval_params=self.eval_params,
      tasks=self.tasks,
      restart=self.restart,
      inactive=self.inactive,
    )

  @functools.cached_property
  def trials(self):
    found = trials.make_trials(
      DATASET, list(self.seeds), images=self.tasks.images
    )
    return found.at({'learning_rate': RATE})

  @functools.cached_property
  def programs(self):
    jit = functools.partial(jax.jit, compiler_options=program.quick())
    return [jit(self.trainer.update), jit(self.trainer.close)]

  def train(self, cut=lambda left: left):
    """The state after each task, and what is measured of it."""
    pixels = engine.to_device(DATASET)
    state = jax.jit(self.trainer.init)(self.trials)
    update, close = self.programs
    states, measured = [], []
    for _ in range(self.count):
      left = self.tasks.updates - 1
      while left:
        n = cut(left)
        state = update(state, self.trials, pixels, jnp.int32(n))
        left -= n
      state, _ = close(state, self.trials, pixels)
      states.append(to_numpy(state))
      measured.append(self.trainer.measured(state, self.trials))
    return states, measured


def _batches(run, i):
  """What the feed gives a trial: [tasks] of lists of (numbers, labels)."""
  trial = jax.tree.map(lambda x: x[i], run.trials)
  pixels, feed = engine.to_device(DATASET), run.tasks

  @jax.jit
  def at(place):
    plan = feed.plan(trial, pixels, place)
    batch, _ = feed.batch(plan, trial, pixels, place)
    return batch.images[:, 0, 0, 0], batch.labels, batch.allowed

  return [
    [
      to_numpy(at(jnp.int32(task * feed.updates + step)))
      for step in range(feed.updates)
    ]
    for task in range(run.count)
  ]


def _losses(rows, numbers, labels, allowed):
  """The loss of each example, and the share that each class is given."""
  logits = rows[numbers]
  if allowed is not None:
    logits = np.where(allowed, logits, -np.inf)
  logs = special.log_softmax(logits, axis=-1)
  return -logs[np.arange(len(labels)), labels], np.exp(logs)


def _replay(run, rows, batches, every):
  """SGD in float64: what is met online, plasticity, and the rows after."""
  loss = correct = plasticity = 0.0
  for step, (numbers, labels, allowed) in enumerate(batches):
    losses, shares = _losses(rows, numbers, labels, allowed)
    loss += losses.sum()
    correct += (shares.argmax(-1) == labels).sum()
    gradient = np.zeros_like(rows)
    np.add.at(gradient, numbers, shares - np.eye(CLASSES)[labels])
    rows = rows - RATE * gradient / len(labels)
    if (step + 1) % every == 0:
      after = _losses(rows, numbers, labels, allowed)[0].mean()
      plasticity += np.clip(1 - after / max(losses.mean(), 1e-8), 0, 1)
  count = len(batches) * run.batch_size
  readings = len(batches) // every
  return (loss / count, correct / count, plasticity / readings), rows


# Two show most of it.
STREAMS = {
  'permuted_labels': Run(),
  'split': Run('split', count=2, updates=27),
  'random_labels': Run('random_labels', updates=60),
  'split_heads': Run('split_heads', count=2, updates=27),
}
_SLOW = 'random_labels', 'split_heads'
_streams = pytest.mark.parametrize(
  'name',
  [pytest.param(x, marks=[pytest.mark.slow] * (x in _SLOW)) for x in STREAMS],
)


@functools.cache
def _trained(name):
  return STREAMS[name].train()


def _rows_at_first(run, i):
  state = to_numpy(jax.jit(run.trainer.init)(run.trials))
  return state.params['rows'].get_value()[i].astype(np.float64)


@_streams
def test_each_batch_is_scored_before_it_is_learned(name):
  run = STREAMS[name]
  states, measured = _trained(name)
  for i in range(2):
    rows = _rows_at_first(run, i)
    for task, batches in enumerate(_batches(run, i)):
      every = min(25, run.tasks.updates)
      (loss, accuracy, plasticity), rows = _replay(run, rows, batches, every)
      found = {k: v[i] for k, v in measured[task].items()}
      assert found['online_loss'] == pytest.approx(loss, rel=1e-3)
      assert found['online_accuracy'] == pytest.approx(accuracy)
      assert found['plasticity'] == pytest.approx(plasticity, abs=1e-3)
      norm = np.sqrt((rows**2).sum())
      assert found['weight_norm'] == pytest.approx(norm, rel=1e-3)
      np.testing.assert_allclose(
        states[task].params['rows'].get_value()[i], rows, atol=1e-3
      )


@pytest.mark.parametrize(
  'name', ['split', pytest.param('split_heads', marks=pytest.mark.slow)]
)
def test_a_split_is_evaluated_on_all_tasks_every_ten_updates(name):
  run = STREAMS[name]
  _, measured = _trained(name)
  for i in range(2):
    trial = jax.tree.map(lambda x, i=i: x[i], run.trials)
    pixels = engine.to_device(DATASET)
    plan = run.tasks.plan(trial, pixels, jnp.int32(0))
    test = to_numpy(run.tasks.test(plan, trial, pixels))
    rows = _rows_at_first(run, i)
    for task, batches in enumerate(_batches(run, i)):
      found = measured[task]['evaluations'][i]
      # After 10, 20 and all 27 updates.
      assert found.shape == (3, 2)
      for row, (first, last) in enumerate(((0, 10), (10, 20), (20, 27))):
        _, rows = _replay(run, rows, batches[first:last], 1)
        shares = _losses(
          rows, test.images[:, 0, 0, 0], test.labels, test.allowed
        )[1]
        right = shares.argmax(-1) == test.labels
        expected = right.reshape(2, -1).mean(-1)
        np.testing.assert_allclose(found[row], expected)


def test_the_share_of_inactive_weights_is_that_of_the_last_update_of_a_task():
  regenerating = lambda numbers: mechanisms.regenerate_inactive(
    optax.sgd(numbers['learning_rate']), threshold=0.9
  )
  run = Run(updates=9, optimizer=regenerating, inactive=True)
  states, measured = run.train()
  for state, found in zip(states, measured, strict=True):
    shares = mechanisms.inactive_fraction(state.opt_state)
    paths = jax.tree.leaves_with_path(shares)
    assert {*found} == {*run.trainer.metrics[:-1]}
    assert any(share.any() for _, share in paths)
    for path, share in paths:
      np.testing.assert_array_equal(found[f'inactive_{leaf_name(path)}'], share)


@_streams
@pytest.mark.parametrize('cut', [lambda left: 1, lambda left: left - left // 3])
def test_number_of_updates_in_a_call_changes_nothing(name, cut):
  states, measured = _trained(name)
  again, found = STREAMS[name].train(cut)
  assert_same(again, states)
  assert_same(found, measured)


@pytest.mark.slow
@pytest.mark.parametrize('lanes', [2, None])
def test_lanes_do_not_change_results(lanes):
  for name in ('random_labels', 'split_heads'):
    _, measured = _trained(name)
    _, found = dataclasses.replace(STREAMS[name], lanes=lanes).train()
    for one, other in zip(found, measured, strict=True):
      for key in other:
        np.testing.assert_allclose(one[key], other[key], rtol=1e-4, atol=1e-5)


def test_all_tasks_share_one_compiled_program(compiled):
  run = STREAMS['split']
  _trained('split')
  compiled.clear()
  run.train(lambda left: 1)
  # The state is made anew; the programs that train and measure are there.
  assert compiled == ['jit(init)']


def test_optimizers_are_given_new_task_and_the_loss():
  run = Run(optimizer=RECORDING)
  states, measured = run.train()
  received = states[-1].opt_state
  updates = run.tasks.updates
  assert received.updates.tolist() == [3 * updates] * 2
  # At the first update of the second and of the third task.
  assert received.new_tasks.tolist() == [2**updates + 2 ** (2 * updates)] * 2
  np.testing.assert_array_equal(received.value, [0, 0])
  # And all else is as with plain SGD, which takes none of it.
  assert_same(measured, _trained('permuted_labels')[1])


def test_restart_initializes_every_task_anew():
  run = Run(restart=True, optimizer=RECORDING)
  states, measured = run.train()
  # The optimizer, too.
  for task, state in enumerate(states):
    assert state.opt_state.updates.tolist() == [run.tasks.updates] * 2
    assert state.opt_state.new_tasks.tolist() == [int(task > 0)] * 2
  first, second, third = (x['online_loss'] for x in measured)
  assert_same(first, _trained('permuted_labels')[1][0]['online_loss'])
  assert (second != _trained('permuted_labels')[1][1]['online_loss']).all()
  # A table that is new knows nothing of an image that comes once.
  for each in (second, third):
    assert (abs(each - first) < 1).all()
  again, found = run.train(lambda left: 1)
  assert_same(again, states)
  assert_same(found, measured)


def test_batches_are_scored_at_eval_params():
  """Where those are not the ones that are trained: here, all zero."""
  zero = lambda opt_state, params: jax.tree.map(jnp.zeros_like, params)
  run = Run(eval_params=zero)
  states, measured = run.train()
  plain_states, plain = _trained('permuted_labels')
  assert_same(
    [state.params for state in states], [x.params for x in plain_states]
  )
  for task, (one, other) in enumerate(zip(measured, plain, strict=True)):
    np.testing.assert_allclose(one['online_loss'], np.log(4), rtol=1e-5)
    np.testing.assert_array_equal(one['weight_norm'], [0, 0])
    # What an update does, is done to what is trained.
    np.testing.assert_array_equal(one['plasticity'], other['plasticity'])
    for i in range(2):
      labels = [x[1] for x in _batches(run, i)[task]]
      expected = np.mean(np.concatenate(labels) == 0)  # The first of equals.
      assert one['online_accuracy'][i] == pytest.approx(expected)


@pytest.mark.slow
def test_batches_are_scored_without_dropout():
  states, measured = Run(model=Dropped).train()
  # Nothing is learned with it.
  expected_states, expected = Run(optimizer=lambda _: optax.sgd(0.0)).train()
  diary.assert_close(states[-1].params, expected_states[-1].params)
  for found, each in zip(measured, expected, strict=True):
    for name in ('online_loss', 'online_accuracy'):
      np.testing.assert_allclose(found[name], each[name], rtol=1e-4)
