"""`regenerate_inactive`: which weights go back, where to, and what is read."""

import chex
from flax import nnx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from neuroplastic_optax import mechanisms
from tests.arrays import device_mesh
from tests.running import trained
from tests.trees import random_tree
from tests.trees import random_trees

inactive = mechanisms.regenerate_inactive
fraction = mechanisms.inactive_fraction

UTILITIES = ('activity', 'contribution', 'magnitude')
QUIET = jnp.array([0.0, 1e-4, 1.0, -1.0])


def _bits(tree):
  return jax.tree.map(lambda x: np.asarray(x).tobytes(), tree)


@pytest.mark.parametrize('to', ['initial', 'fresh'])
def test_rate_zero_and_leaves_outside_the_mask_are_inners_bit_for_bit(to):
  inner = optax.sgd(0.1)  # Which makes -0 of 0.
  mask = {'dense': {'kernel': True, 'bias': False}, 'scale': False}
  txs = {
    'zero': inactive(inner, 0.0, 2.0, to=to),
    'masked': inactive(inner, 1.0, 2.0, to=to, mask=mask),
    'injected': optax.inject_hyperparams(inactive)(inner, 0.0, 2.0, to=to),
  }
  params, gradients = random_tree(0), random_trees(3)
  gradients = [
    jax.tree.map(lambda g: jnp.where(g > 0.5, 0.0, g), each)
    for each in gradients
  ]
  expected, _ = inner.update(gradients[2], inner.init(params))
  for name, tx in txs.items():
    moved, state = trained(tx, params, gradients[:2], compiled=True)
    actual, state = jax.jit(tx.update)(gradients[2], state, moved)
    assert fraction(state)['dense']['kernel'] > 0
    if name == 'masked':
      assert (actual['dense']['kernel'] != expected['dense']['kernel']).any()
      actual['dense']['kernel'] = expected['dense']['kernel']
      assert fraction(state)['dense']['bias'] == 0
    assert _bits(actual) == _bits(expected), name


@pytest.mark.parametrize('utility', UTILITIES)
def test_zeros_and_equals_are_active(utility):
  """So that a dead tensor stays as it is, and 0/0 is nowhere."""
  tx = inactive(optax.sgd(0.1), 1.0, threshold=1.0, utility=utility)
  update = jax.jit(tx.update)
  for w, g in ((2.0, 0.0), (0.0, 0.0), (2.0, 1.0), (2.0, jnp.inf)):
    w, g = jnp.full(4, w), jnp.full(4, g)
    state = tx.init(w - 1.0)
    for _ in range(2):
      u, state = update(g, state, w)
      chex.assert_trees_all_equal(u, -0.1 * g)
      assert fraction(state) == 0


def test_one_bad_gradient_shows_and_can_be_rejected():
  tx = optax.apply_if_finite(inactive(optax.sgd(0.1), 0.5), 3)
  w, bad = jnp.arange(4.0), QUIET.at[2].set(jnp.nan)
  state = tx.init(w)
  u, state = tx.update(bad, state, w)
  assert state.total_notfinite == 1
  assert not u.any()
  chex.assert_tree_all_finite(state)


def test_clipping_outside_keeps_a_huge_gradient_from_the_activity():
  """Within, where only the inner optimizer sees it, it comes too late."""
  clip, w = optax.clip(1.0), jnp.arange(4.0)
  outside = optax.chain(clip, inactive(optax.sgd(0.1), 0.5))
  within = inactive(optax.chain(clip, optax.sgd(0.1)), 0.5)
  for tx, share in ((outside, 0.0), (within, 0.75)):
    state = tx.init(w)
    for huge in (1.0, 1e38, 1.0):
      _, state = tx.update(jnp.ones(4).at[2].set(huge), state, w)
    assert fraction(state) == share


def test_what_is_seldom_used_is_forgotten_and_a_mask_keeps_it():
  """An embedding, of which a row is seen once, at the first update."""
  table = {'rare': jnp.zeros((8, 2))}
  later = jnp.ones((8, 2)).at[0].set(0.0)
  for mask, kept in ((None, 0.0), ({'rare': False}, 1.0)):
    tx = inactive(optax.sgd(0.1), rate=0.1, mask=mask)
    params = {'rare': table['rare'].at[0].set(1.0)}
    state = tx.init(table)
    step = jax.jit(tx.update)
    for _ in range(150):
      u, state = step({'rare': later}, state, params)
      params = optax.apply_updates(params, u)
    np.testing.assert_allclose(params['rare'][0], kept, atol=1e-3)


def test_fresh_weights_are_distributed_as_the_first_and_counting_restarts():
  w = 3.0 + 0.5 * jax.random.normal(jax.random.key(0), (200, 100))
  tx = inactive(
    optax.identity(), 1.0, 0.5, 0.0, 'contribution', 'fresh', every=2
  )
  g = jnp.zeros_like(w).at[:100].set(1.0)
  state, drawn = tx.init(w), []
  for t in range(1, 5):
    u, state = tx.update(g, state, jnp.zeros_like(w) + 7.0)
    if t % 2:
      chex.assert_trees_all_equal(u, g)
      assert state.activity.any()
    else:
      chex.assert_trees_all_equal(u[:100], g[:100])
      assert not state.activity.any()
      drawn.append(np.asarray(u[100:]) + 7.0)
    assert fraction(state) == 0.5
  assert (drawn[0] != drawn[1]).all()
  for x in drawn:
    assert x.mean() == pytest.approx(3.0, abs=0.02)
    assert x.std() == pytest.approx(0.5, abs=0.02)


def test_a_draw_depends_on_the_key_and_not_on_the_devices():
  w = jax.random.normal(jax.random.key(0), (8, 16))
  g = jnp.zeros_like(w).at[0].set(1.0)
  place = jax.NamedSharding(device_mesh(x=4, y=2), jax.P('x', 'y'))

  def draw(w, g, **key):
    tx = inactive(optax.identity(), 1.0, to='fresh', **key)
    return jax.jit(tx.update)(g, tx.init(w), w)[0]

  here = draw(w, g)
  there = draw(*jax.device_put((w, g), place))
  np.testing.assert_allclose(here, there, rtol=1e-5, atol=1e-6)
  assert (draw(w, g, key=1)[1:] != here[1:]).all()


def test_a_state_holds_two_copies_or_one_or_none():
  params = {'w': jnp.ones((100, 10))}
  outside = {'w': False}

  def copies(**settings):
    state = inactive(optax.sgd(1.0), **settings).init(params)
    return sum(x.size for x in jax.tree.leaves(state)) // 1000

  assert copies() == 2
  assert copies(utility='magnitude') == copies(to='fresh') == 1
  assert copies(utility='magnitude', to='fresh') == copies(mask=outside) == 0


def test_params_of_half_precision_keep_their_dtype_and_an_exact_average():
  """Of decay 0.999, it would not move in bfloat16."""
  w = {'w': jnp.ones(4, 'bfloat16')}
  tx = inactive(optax.sgd(0.1), decay=0.999)
  g, state = {'w': QUIET.astype('bfloat16')}, tx.init(w)
  for _ in range(3):
    u, state = tx.update(g, state, w)
  assert u['w'].dtype == jnp.bfloat16
  assert state.activity['w'].dtype == state.anchor['w'].dtype == jnp.float32
  np.testing.assert_allclose(state.activity['w'][2], 1 - 0.999**3, rtol=1e-4)


def test_multi_steps_sees_the_mean_gradient():
  params, gradients = random_tree(0), random_trees(2)
  tx = inactive(optax.adam(0.1), 0.5, 1.0)
  expected, plain = trained(tx, params, gradients, compiled=True)
  doubled = [g for g in gradients for _ in range(2)]
  actual, state = trained(
    optax.MultiSteps(tx, 2), params, doubled, compiled=True
  )
  chex.assert_trees_all_close(actual, expected, rtol=1e-5)
  chex.assert_trees_all_equal(fraction(state), fraction(plain))


def test_reset_state_moves_the_anchor_to_the_params_now():
  tx = inactive(optax.adam(0.1), 0.5)
  first, now = random_tree(0), random_tree(1)
  _, state = tx.update(now, tx.init(first), now)
  assert state.activity['scale'] > 0
  mask = {'dense': False, 'scale': True}
  reset = mechanisms.reset_state(tx, state, now, mask)
  assert reset.activity['scale'] == 0
  assert reset.anchor['scale'] == now['scale']
  assert optax.tree.get(reset.inner, 'mu')['scale'] == 0
  for name in ('activity', 'anchor'):
    chex.assert_trees_all_equal(
      getattr(reset, name)['dense'], getattr(state, name)['dense']
    )
  assert reset.count == state.count == 1


# Reading.


def test_the_fraction_is_found_anywhere_in_a_state():
  tx = inactive(optax.sgd(0.1))
  params = {'a': jnp.ones(4), 'b': (jnp.ones((2, 2)), None)}
  gradient = {'a': QUIET, 'b': (jnp.ones((2, 2)), None)}
  expected = {'a': 0.5, 'b': (0.0, None)}
  for outer in (
    tx,
    optax.chain(optax.clip(1.0), tx),
    optax.inject_hyperparams(inactive)(optax.sgd(0.1), rate=0.1),
    optax.MultiSteps(tx, 1),
    optax.apply_if_finite(tx, 3),
  ):
    state = outer.init(params)
    assert fraction(state) == {'a': 0.0, 'b': (0.0, None)}
    _, state = jax.jit(outer.update)(gradient, state, params)
    assert jax.jit(fraction)(state) == expected
  masked = optax.masked(tx, {'a': True, 'b': False})
  _, state = masked.update(gradient, masked.init(params), params)
  assert fraction(state)['a'] == 0.5
  assert not jax.tree.leaves(fraction(state)['b'])


def test_the_fraction_of_an_nnx_optimizer():
  model = nnx.Linear(3, 2, rngs=nnx.Rngs(0))
  optimizer = nnx.Optimizer(model, inactive(optax.sgd(0.1)), wrt=nnx.Param)
  gradient = jax.tree.map(jnp.ones_like, nnx.state(model, nnx.Param))
  gradient['kernel'][...] = gradient['kernel'][...].at[0].set(0.0)
  optimizer.update(model, gradient)
  found = fraction(optimizer.opt_state)
  assert jax.tree.leaves(found) == [0.0, pytest.approx(1 / 3)]


def test_none_or_two_states_are_one_sentence():
  params = {'a': jnp.ones(2), 'b': jnp.ones(2)}
  with pytest.raises(ValueError, match='it holds 0: pass the state of an opt'):
    fraction(optax.adam(0.1).init(params))
  tx = inactive(optax.sgd(0.1))
  both = optax.partition({'x': tx, 'y': tx}, {'a': 'x', 'b': 'y'})
  state = both.init(params)
  with pytest.raises(ValueError, match=r"2: .*inner_states\['x'\]"):
    fraction(state)
  assert fraction(state.inner_states['x'])['a'] == 0


# Bad input.


@pytest.mark.parametrize(
  ('bad', 'message'),
  [
    (dict(rate=1.1), r'rate must be a number in \[0, 1\] or a schedule'),
    (dict(rate=-0.1), r'rate must be a number in \[0, 1\]'),
    (dict(threshold=-0.1), r'threshold must be a number in \[0, inf\)'),
    (dict(decay=1.0), r'decay must be a number in \[0, 1\), got 1\.0'),
    (dict(utility='use'), 'utility must be "activity", "contribution" or'),
    (dict(to='zero'), 'to must be "initial" or "fresh", got \'zero\''),
    (dict(every=0), r'every must be an integer ≥ 1, got 0'),
  ],
)
def test_bad_numbers_and_words_are_one_sentence(bad, message):
  with pytest.raises(ValueError, match=f'^{message}'):
    inactive(optax.sgd(0.1), **bad)


def test_other_bad_input_is_one_sentence():
  with pytest.raises(TypeError, match='^mask must be a pytree of bools'):
    inactive(optax.sgd(0.1), mask=True)
  with pytest.raises(TypeError, match='^inner must be an optax.Gradient'):
    inactive(optax.sgd)
  tx, w = inactive(optax.sgd(0.1)), jnp.ones(2)
  with pytest.raises(ValueError, match='^regenerate_inactive needs the params'):
    tx.update(w, tx.init(w))
