"""Scopes take the leaves that they name."""

import jax
import jax.numpy as jnp
import pytest

from neuroplastic_optax import modulations
from neuroplastic_optax import neuroplastic
from neuroplastic_optax import scopes

MODEL = {
  'stem': jnp.zeros((3, 3, 3, 8)),
  'block10': {'conv': jnp.zeros((3, 3, 8, 8)), 'bias': jnp.zeros(8)},
  'block2': {'conv': jnp.zeros((3, 3, 8, 8)), 'bias': jnp.zeros(8)},
  'head': {'kernel': jnp.zeros((8, 2)), 'bias': jnp.zeros(2)},
}
ORDER = ['stem', 'block2', 'block10', 'head']


def _names(mask):
  return {
    jax.tree_util.keystr(path, simple=True, separator='/')
    for path, take in jax.tree.leaves_with_path(mask)
    if take
  }


def test_scopes_follow_the_order():
  early = _names(scopes.early_blocks(ORDER)(MODEL))
  late = _names(scopes.late_blocks(ORDER)(MODEL))
  head = _names(scopes.classifier(ORDER)(MODEL))
  assert head == {'head/bias', 'head/kernel'}
  assert early == {'stem', 'block2/bias', 'block2/conv'}
  assert late == {'block2/conv', 'block10/bias', 'block10/conv'}
  assert early | late | head == _names(jax.tree.map(lambda _: True, MODEL))
  # Natural order: block2 before block10, by the letter before head and stem.
  assert _names(scopes.classifier()(MODEL)) == {'head/kernel', 'stem'}
  values = jax.tree.leaves(scopes.thirds(0.5, 1.0, 2.0, ORDER)(MODEL))
  assert sorted(values) == [0.5] * 3 + [1.0] * 2 + [2.0] * 2
  with pytest.raises(ValueError, match='order.*head'):
    scopes.classifier(['stem', 'block2', 'block10'])(MODEL)


def test_scopes_by_path_and_rank():
  assert _names(scopes.matching('bias$')(MODEL)) == {
    'block10/bias', 'block2/bias', 'head/bias',
  }  # fmt: skip
  conv = {'stem', 'block10/conv', 'block2/conv'}
  assert _names(scopes.convolutional(MODEL)) == conv
  stacked = jax.tree.map(lambda x: x[None], MODEL)
  assert _names(scopes.convolutional(stacked_axes=1)(stacked)) == conv
  tx = neuroplastic(modulation=modulations.Gain(scope=scopes.convolutional))
  tx.init(MODEL)
  with pytest.raises(ValueError, match='regex'):
    scopes.matching('(')
