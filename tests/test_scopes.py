"""Scopes take the leaves that they name."""

from flax import nnx
import jax
import jax.numpy as jnp
import optax
import pytest

from neuroplastic_optax import Homeostasis
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


@pytest.mark.parametrize('within', [lambda m: m, nnx.state])
def test_paths_of_nnx_do_not_end_in_value(within):
  """Of a module and of its state; a dictionary's key `value` stays."""
  params = within(nnx.Linear(3, 2, rngs=nnx.Rngs(0)))
  assert jax.tree.leaves(scopes.matching('kernel$')(params)) == [False, True]
  assert jax.tree.leaves(scopes.matching('^bias$')(params)) == [True, False]
  order = ['kernel', 'bias']
  scale = scopes.thirds(0.5, 1.0, 2.0, order)(params)
  assert jax.tree.leaves(scale) == [1.0, 0.5]
  with pytest.raises(ValueError, match="the paths are 'bias', 'kernel'[.]$"):
    scopes.matching('value')(params)
  with pytest.raises(ValueError, match="none starts 'bias'[.]"):
    scopes.thirds(0.5, 1.0, 2.0, ['kernel'])(params)
  keys = {'kernel': {'value': jnp.ones(2)}, 'value': jnp.ones(2)}
  assert _names(scopes.matching('value$')(keys)) == {'kernel/value', 'value'}
  assert _names(scopes.matching('^value$')(keys)) == {'value'}


def test_errors_name_a_leaf_of_nnx_without_value():
  params = nnx.state(nnx.Linear(3, 2, rngs=nnx.Rngs(0)), nnx.Param)
  whole = jax.tree.map(lambda x: x.astype(int), params)
  with pytest.raises(TypeError, match=r"got params\['bias'\] of dtype int32"):
    neuroplastic().init(whole)
  with pytest.raises(ValueError, match=r"rms_scale\['bias'\] must be a number"):
    Homeostasis(target_rms_scale=jax.tree.map(lambda _: -1.0, params))
  keys = {'a': {'value': jnp.ones(2, int)}}
  with pytest.raises(TypeError, match=r"got params\['a'\]\['value'\] of dtype"):
    neuroplastic().init(keys)


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
