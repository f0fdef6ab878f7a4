"""What is saved comes back to the last bit; only whole checkpoints count."""

import contextlib
import pathlib
import re
import shutil
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from experiments import errors
from experiments.training import checkpoints
from experiments.training import records


class State(NamedTuple):
  step: Any
  params: Any
  opt_state: Any


@pytest.fixture(name='state')
def _state():
  """Every dtype and value that a run may have, in nested optimizer states."""
  params = {
    'kernel': jnp.array([[1 / 3, -0.0], [jnp.nan, jnp.inf]], jnp.float32),
    'half': jnp.array([1 / 3, 2.0], jnp.bfloat16),
    'key': jnp.array([2**32 - 1], jnp.uint32),
    'mask': jnp.array([True, False]),
    'layers': [jnp.zeros((2, 3)), jnp.array(7)],
  }
  floats = {'a': jnp.array([1e-45, 2.0]), 'b': jnp.float32(3)}
  optimizer = optax.chain(optax.scale_by_adam(), optax.trace(0.9))
  return State(jnp.int32(12), params, optimizer.init(floats))


def _open(path):
  return contextlib.closing(checkpoints.Checkpoints(path))


def _history(epochs, replicas=2):
  history = records.History(replicas)
  for epoch in range(epochs):
    history.append(
      train_loss=[1 / (epoch + 3), np.nan],
      train_accuracy=[0.1 * epoch, 0.5],
      test_loss=[np.inf, 2.0],
      test_accuracy=[1.0, 0.0],
      train_seconds=0.1,
      test_seconds=0.2,
    )
  return history


def _abstract(state):
  return jax.eval_shape(lambda: state)


def _assert_same(one, other):
  assert jax.tree.structure(one) == jax.tree.structure(other)
  for x, y in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
    x, y = np.asarray(x), np.asarray(y)
    assert (x.dtype, x.shape) == (y.dtype, y.shape)
    assert x.tobytes() == y.tobytes()


def test_an_empty_directory_has_none(tmp_path):
  with _open(tmp_path / 'new' / 'arm') as saved:
    assert saved.latest() is None


def test_state_and_metrics_come_back_to_the_last_bit(tmp_path, state):
  history = _history(3)
  with _open(tmp_path) as saved:
    saved.save(3, state, history)
  with _open(tmp_path) as saved:
    assert saved.latest() == 3
    _assert_same(saved.state(3, _abstract(state)), state)
    found = saved.history(3)
  assert found.epochs == 3
  for name in records.METRICS:
    np.testing.assert_array_equal(found[name], history[name])


def test_the_last_two_are_kept(tmp_path, state):
  with _open(tmp_path) as saved:
    for epoch in (1, 2, 5, 9):
      saved.save(epoch, state._replace(step=jnp.int32(epoch)), _history(epoch))
  assert sorted(p.name for p in tmp_path.iterdir()) == ['5', '9']
  with _open(tmp_path) as saved:
    assert saved.latest() == 9
    for epoch in (5, 9):
      assert saved.state(epoch, _abstract(state)).step == epoch
      assert saved.history(epoch).epochs == epoch


def test_what_was_saved_does_not_change_with_the_buffers(tmp_path):
  """On CPUs the next epoch writes into the memory that was to be saved."""
  epoch = jax.jit(lambda x: x + 1, donate_argnums=0)
  state = epoch(jnp.zeros((1000, 1000)))
  with _open(tmp_path) as saved:
    for i in range(1, 6):
      saved.save(i, {'x': state}, _history(i))
      state = jax.block_until_ready(epoch(state))
      found = saved.state(i, _abstract({'x': state}))
      np.testing.assert_array_equal(found['x'], np.full((1000, 1000), i))


@pytest.mark.parametrize(
  'change',
  [
    lambda state: state._replace(params={}),
    lambda state: state._replace(params=state.params | {'new': jnp.zeros(1)}),
    lambda state: state._replace(step=jnp.zeros(2, jnp.int32)),
    lambda state: state._replace(step=jnp.float32(0)),
    lambda state: state._replace(
      params=state.params | {'kernel': jnp.zeros((3, 2))}
    ),
  ],
)
def test_another_structure_is_refused(tmp_path, state, change):
  with _open(tmp_path) as saved:
    saved.save(1, state, _history(1))
    with pytest.raises(ValueError, match='checkpoint 1 holds another kind'):
      saved.state(1, _abstract(change(state)))


def test_what_a_killed_process_leaves_does_not_count(tmp_path, state):
  """Half a new checkpoint, and half of an old one that was being deleted."""
  with _open(tmp_path) as saved:
    saved.save(1, state, _history(1))
    saved.save(2, state, _history(2))
  shutil.copytree(tmp_path / '2', tmp_path / '3.orbax-checkpoint-tmp')
  shutil.rmtree(tmp_path / '1' / 'state')
  with _open(tmp_path) as saved:
    assert saved.latest() == 2
    assert saved.history(2).epochs == 2
    _assert_same(saved.state(2, _abstract(state)), state)
    saved.save(3, state, _history(3))
    assert saved.latest() == 3
  assert sorted(p.name for p in tmp_path.iterdir()) == ['2', '3']
  # Nor does the half stay where nothing is saved any more.
  shutil.copytree(tmp_path / '2' / 'history', tmp_path / '1' / 'history')
  with _open(tmp_path) as saved:
    assert saved.latest() == 3
  assert sorted(p.name for p in tmp_path.iterdir()) == ['2', '3']


def _truncate(path):
  path.write_bytes(path.read_bytes()[:-1])


def _empty(path):
  path.write_bytes(b'')


def _flip(path):
  data = bytearray(path.read_bytes())
  data[len(data) // 2] ^= 4
  path.write_bytes(data)


def _replace(path):
  path.unlink()
  path.mkdir()


@pytest.mark.parametrize(
  'damage', [_truncate, _empty, _flip, _replace, pathlib.Path.unlink]
)
def test_whatever_file_is_damaged_the_one_before_is_used(
  tmp_path, state, damage
):
  whole = tmp_path / 'whole'
  with _open(whole) as saved:
    for epoch in (1, 2):
      saved.save(epoch, state, _history(epoch))
  names = [
    path.relative_to(whole)
    for path in (whole / '2').rglob('*')
    if path.is_file()
  ]
  assert len(names) > 5
  for i, name in enumerate(names):
    mine = tmp_path / str(i) / 'whole'
    shutil.copytree(whole, mine)
    (mine / 'stray').mkdir()
    (mine / '9').write_text('no checkpoint')
    damage(mine / name)
    with _open(mine) as saved:
      assert saved.latest() == 1, name
      inner = name.relative_to('2')
      assert saved.damage[2].startswith(f'{inner} '), name
      # Nothing is deleted before there is something better.
      assert (mine / '2').exists()
      saved.save(2, state, _history(2))
    with _open(mine) as saved:
      assert (saved.latest(), saved.damage) == (2, {})
    assert (mine / 'stray').exists()
    assert (mine / '9').exists()


def test_where_all_are_damaged_it_says_so_and_changes_nothing(tmp_path, state):
  with _open(tmp_path) as saved:
    for epoch in (1, 2):
      saved.save(epoch, state, _history(epoch))
  shutil.rmtree(tmp_path / '1' / 'state')
  for path in [*(tmp_path / '2').iterdir()]:
    shutil.rmtree(path) if path.is_dir() else path.unlink()
  before = sorted(tmp_path.rglob('*'))
  with pytest.raises(errors.StorageError) as info:
    checkpoints.Checkpoints(tmp_path)
  assert re.match(
    f'no checkpoint in {tmp_path} is whole '
    r'\(2: checksums.sha256 is missing; 1: state/\S+ is missing\): ',
    str(info.value),
  )
  assert sorted(tmp_path.rglob('*')) == before


def test_a_directory_that_is_gone_stays_gone(tmp_path, state):
  with _open(tmp_path / 'arm') as saved:
    saved.save(1, state, _history(1))
    shutil.rmtree(tmp_path / 'arm')
    with pytest.raises(errors.StorageError, match=r'/arm: .* was removed'):
      saved.save(2, state, _history(2))
  assert not (tmp_path / 'arm').exists()


@pytest.mark.parametrize('name', ['4', '4.orbax-checkpoint-tmp'])
@pytest.mark.parametrize('kind', ['file', 'link', 'dangling'])
def test_what_else_has_the_name_of_a_checkpoint_is_no_hindrance(
  tmp_path, state, name, kind
):
  directory, elsewhere = tmp_path / 'arm', tmp_path / 'elsewhere'
  elsewhere.mkdir()
  with _open(directory) as saved:
    saved.save(3, state, _history(1))
  if kind == 'file':
    (directory / name).write_text('')
  else:
    target = elsewhere if kind == 'link' else tmp_path / 'nowhere'
    (directory / name).symlink_to(target)
  with _open(directory) as saved:
    assert saved.latest() == 3
    saved.save(4, state, _history(2))
    assert saved.latest() == 4
  assert elsewhere.is_dir()


def test_a_checkpoint_of_another_arm_is_passed_over(tmp_path, state):
  for arm, numbers in {'full': [3, 6], 'adam': [3]}.items():
    with _open(tmp_path / arm) as saved:
      for number in numbers:
        saved.save(number, state, _history(number // 3))
  shutil.copytree(tmp_path / 'full' / '6', tmp_path / 'adam' / '6')
  with _open(tmp_path / 'adam') as saved:
    assert saved.latest() == 3
    assert saved.damage == {6: 'it is one of full'}
