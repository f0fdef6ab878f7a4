"""What is saved comes back to the last bit; only whole checkpoints count."""

import contextlib
import pathlib
import re
import shutil
import types
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from experiments import errors
from experiments.training import checkpoints
from experiments.training import records
from tests.experiments.training.test_records import history


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


def _abstract(state):
  return jax.eval_shape(lambda: state)


def _assert_same(one, other):
  assert jax.tree.structure(one) == jax.tree.structure(other)
  for x, y in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
    x, y = np.asarray(x), np.asarray(y)
    assert (x.dtype, x.shape) == (y.dtype, y.shape)
    assert x.tobytes() == y.tobytes()


def test_empty_directory_has_no_checkpoint(tmp_path):
  with _open(tmp_path / 'new' / 'arm') as saved:
    assert saved.restore() is None
    assert saved.history() is None


def test_state_and_metrics_come_back_to_the_last_bit(tmp_path, state):
  recorded = history(3, train_loss=[np.nan, np.inf, 1 / 3])
  with _open(tmp_path) as saved:
    saved.save(3, state, recorded)
  with _open(tmp_path) as saved:
    number, leaves, found = saved.restore()
  assert number == 3
  _assert_same(checkpoints.as_tree(leaves, _abstract(state)), state)
  assert found.epochs == 3
  for name in records.METRICS:
    np.testing.assert_array_equal(found[name], recorded[name])


def test_saved_state_does_not_change_with_donated_buffers(tmp_path):
  """On CPUs the next epoch writes into the memory that was to be saved."""
  epoch = jax.jit(lambda x: x + 1, donate_argnums=0)
  state = epoch(jnp.zeros((1000, 1000)))
  with _open(tmp_path) as saved:
    for i in range(1, 4):
      saved.save(i, {'x': state}, history(i))
      state = jax.block_until_ready(epoch(state))
      _, leaves, _ = saved.restore()
      np.testing.assert_array_equal(leaves['x'], np.full((1000, 1000), i))


@pytest.mark.parametrize(
  'change',
  [
    lambda state: state._replace(params={}),
    lambda state: state._replace(params=state.params | {'new': jnp.zeros(1)}),
    lambda state: state._replace(step=jnp.zeros(2, jnp.int32)),
    lambda state: state._replace(step=jnp.float32(0)),
  ],
)
def test_state_of_another_form_is_refused(state, change):
  leaves = jax.tree.map(np.asarray, checkpoints.by_path(state))
  with pytest.raises(errors.StorageError, match='a state of another form'):
    checkpoints.as_tree(leaves, _abstract(change(state)))


def _truncate(path):
  path.write_bytes(path.read_bytes()[:-1])


def _empty(path):
  path.write_bytes(b'')


@pytest.mark.parametrize('damage', [_truncate, _empty, pathlib.Path.unlink])
@pytest.mark.parametrize(
  'name',
  ['history/metadata', 'state/_METADATA', 'state/manifest.ocdbt', 'state/d/*'],
)
def test_unreadable_checkpoint_is_named_and_the_one_before_is_used(
  tmp_path, state, damage, name
):
  said = []
  with _open(tmp_path / 'sgd') as saved:
    for epoch in (1, 2):
      saved.save(epoch, state, history(epoch))
  (file,) = (tmp_path / 'sgd' / '2').glob(name)
  damage(file)
  (tmp_path / 'sgd' / 'stray').mkdir()
  with contextlib.closing(
    checkpoints.Checkpoints(tmp_path / 'sgd', said.append)
  ) as saved:
    saved.history()
    number, leaves, found = saved.restore()
    assert (number, found.epochs) == (1, 1)
    _assert_same(checkpoints.as_tree(leaves, _abstract(state)), state)
    (line,) = said
    assert re.fullmatch(
      r'sgd: checkpoint 2 cannot be restored \(.+\), so checkpoint 1 is used',
      line,
    )
    # Nothing is deleted before there is something better.
    assert (tmp_path / 'sgd' / '2').exists()
    saved.save(2, state, history(2))
  with _open(tmp_path / 'sgd') as saved:
    assert saved.restore()[0] == 2
  names = sorted(p.name for p in (tmp_path / 'sgd').iterdir())
  assert names == ['1', '2', 'stray']


def test_full_disk_is_one_sentence(tmp_path, state, monkeypatch):
  usage = lambda _: types.SimpleNamespace(free=1000)
  with _open(tmp_path) as saved:
    saved.save(1, state, history(1))
    monkeypatch.setattr(shutil, 'disk_usage', usage)
    with pytest.raises(
      errors.StorageError, match=f'^cannot write {tmp_path}/2: No space left'
    ):
      saved.save(2, state, history(2))
    assert saved.restore()[0] == 1
