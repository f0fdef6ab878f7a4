"""Scopes take the leaves that they name."""

import jax
import jax.numpy as jnp
import optax
import pytest

from neuroplastic_optax import LearningRateController
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


def test_a_pattern_that_matches_nothing_is_refused_with_the_paths():
  message = (
    r"matching\('kernal'\) must match .* 'block10/bias', 'block10/conv', "
    r"'block2/bias', 'block2/conv', 'head/bias', 'head/kernel' and 1 more"
  )
  scope = scopes.matching('kernal')
  for tx in (
    neuroplastic(modulation=modulations.Gain(scope=scope)),
    neuroplastic(controller=LearningRateController(scope=scope)),
    neuroplastic(weight_decay=0.1, weight_decay_mask=scope),
    optax.masked(neuroplastic(), scope),
  ):
    for init in (tx.init, jax.jit(tx.init)):
      with pytest.raises(ValueError, match=message):
        init(MODEL)
  with pytest.raises(ValueError, match=r"the paths are 'w'\."):
    scopes.matching('W')({'w': jnp.zeros(2)})


def test_a_pattern_may_match_what_is_absent_here():
  scope = scopes.matching('head')
  rule = modulations.Gain(scope=scope)
  body = jax.tree.map(lambda name: name != 'head', {k: k for k in MODEL})
  for tx in (
    optax.masked(neuroplastic(modulation=rule), body),
    optax.partition(
      {True: neuroplastic(modulation=rule), False: optax.sgd(0.1)}, body
    ),
  ):
    state = tx.init(MODEL)
    tx.update(MODEL, state, MODEL)
    optax.tree.map_params(tx, lambda x: x, state)
  tx = neuroplastic(modulation=rule)
  frozen = MODEL | {'head': {'kernel': None, 'bias': None}}
  tx.update(frozen, tx.init(frozen))
  neuroplastic(modulation=rule).init({})
