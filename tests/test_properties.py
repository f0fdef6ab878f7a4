"""What must hold of the optimizer for any problem."""

import functools

import chex
import hypothesis
from hypothesis import strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from neuroplastic_optax import Homeostasis
from neuroplastic_optax import neuroplastic
from neuroplastic_optax import neuroplastic_optimizer

NEUTRAL = dict(min_alpha=1.0, max_alpha=1.0, homeostasis=None)
BASES = {
  'none': None,
  'trace': optax.trace(0.9),
  'adam': optax.scale_by_adam(),
  'lion': optax.lion(1e-3),
  'adamw': optax.adamw(1e-3),
  'chain': optax.chain(optax.add_decayed_weights(0.1), optax.trace(0.9)),
}
DTYPES = ('bfloat16', 'float32', 'complex64')
MOMENTS = ('activity', 'memory_mu', 'memory_nu')

seeds = st.integers(0, 2**32 - 1)
# Sampled, since floats are mostly drawn near 1.
magnitudes = st.sampled_from([1e-30, 1e-20, 1e-8, 1e-3, 1.0, 1e8, 1e20, 1e30])
shapes = st.sampled_from([(), (1,), (7,), (3, 4), (2, 3, 5)])


def _array(rng, shape, dtype='float32'):
  x = rng.normal(size=shape) * 10 ** rng.uniform(-2, 2, size=shape)
  if jnp.issubdtype(dtype, jnp.complexfloating):
    x = x * np.exp(2j * np.pi * rng.uniform(size=shape))
  return jnp.asarray(x, dtype)


def _tree(rng, dtype='float32'):
  array = functools.partial(_array, rng, dtype=dtype)
  return {'layer': {'w': array((3, 4)), 'b': array((4,))}, 'scale': array(())}


@functools.cache
def _compiled_update(tx):
  return jax.jit(tx.update)


def _updates(tx, params, gradients, compiled=False):
  """The updates for each of the gradients, and the last state."""
  # Operation by operation is faster: those of one test are compiled for all.
  update = _compiled_update(tx) if compiled else tx.update
  state, updates = tx.init(params), []
  for gradient in gradients:
    u, state = update(gradient, state, params)
    updates.append(u)
  return updates, state


def _problem(seed, steps, dtype='float32'):
  rng = np.random.default_rng(seed)
  return _tree(rng, dtype), [_tree(rng, dtype) for _ in range(steps)]


# Numbers are traced, so that one compilation serves for all of them.
@functools.partial(jax.jit, static_argnames=('gradient_only', 'parameterwise'))
def _alphas(gradients, **arguments):
  """α of a tensor at each update, as what its gradient is multiplied by."""
  tx = neuroplastic(homeostasis=None, **arguments)
  state, alphas = tx.init(gradients[0]), []
  for gradient in gradients:
    updates, state = tx.update(gradient, state)
    alphas.append(updates / gradient)
  return jnp.stack(alphas)


# Identities, bit for bit.


def _modes(name, others):
  """Eager and compiled, and compiled in other dtypes than float32."""
  modes = [(name, 'float32', False), (name, 'float32', True)]
  return modes + [(name, dtype, True) for dtype in others]


@pytest.mark.parametrize(
  ('name', 'dtype', 'compiled'),
  [
    mode
    for name in BASES
    for mode in _modes(
      name, ['bfloat16', 'complex64'] if name in ('none', 'adam') else []
    )
  ],
)
def test_neutral_alpha_is_the_base(name, dtype, compiled):
  base = BASES[name]
  params, gradients = _problem(0, 3, dtype)
  actual, state = _updates(
    neuroplastic(base, **NEUTRAL), params, gradients, compiled
  )
  expected, base_state = _updates(
    base or optax.identity(), params, gradients, compiled
  )
  chex.assert_trees_all_equal(actual, expected)
  chex.assert_trees_all_equal(state.base, base_state)


GRADIENT_ONLY = {
  'published': {},
  'per_tensor': dict(parameterwise=False, min_alpha=0.5),
  'over_a_base': dict(
    base=optax.trace(0.9), homeostasis=Homeostasis(0.3), weight_decay=0.1
  ),
}


@pytest.mark.parametrize(
  ('name', 'dtype', 'compiled'),
  [
    mode
    for name in GRADIENT_ONLY
    for mode in _modes(
      name, ['bfloat16', 'complex64'] if name == 'published' else []
    )
  ],
)
def test_gradient_only_is_plasticity_scale_zero(name, dtype, compiled):
  params, gradients = _problem(1, 3, dtype)
  actual, expected = (
    _updates(
      neuroplastic(**GRADIENT_ONLY[name], **ablation),
      params,
      gradients,
      compiled,
    )[0]
    for ablation in (dict(gradient_only=True), dict(plasticity_scale=0.0))
  )
  chex.assert_trees_all_equal(actual, expected)


def test_neutral_optimizer_is_sgd():
  params, gradients = _problem(2, 3)
  actual, _ = _updates(
    neuroplastic_optimizer(0.1, **NEUTRAL), params, gradients
  )
  expected, _ = _updates(optax.sgd(0.1), params, gradients)
  chex.assert_trees_all_equal(actual, expected)


@pytest.mark.parametrize(
  'rate', [0.1, optax.linear_schedule(0.1, 0.0, 3), np.float32(0.1)]
)
@pytest.mark.parametrize(
  'arguments',
  [{}, dict(weight_decay=0.1), dict(base=optax.trace(0.9), max_alpha=1.5)],
)
def test_optimizer_is_direction_times_learning_rate(rate, arguments):
  params, gradients = _problem(3, 4)
  actual, _ = _updates(
    neuroplastic_optimizer(rate, **arguments), params, gradients
  )
  expected, _ = _updates(
    optax.chain(neuroplastic(**arguments), optax.scale_by_learning_rate(rate)),
    params,
    gradients,
  )
  chex.assert_trees_all_close(actual, expected, rtol=1e-6)


# The coefficient.


@hypothesis.given(
  seed=seeds, shape=shapes, factor=st.floats(1e-6, 1e6), scale=st.floats(0, 2)
)
def test_alpha_does_not_depend_on_the_scale_of_gradients(
  seed, shape, factor, scale
):
  rng = np.random.default_rng(seed)
  gradients = [_array(rng, shape) for _ in range(3)]
  alphas = functools.partial(_alphas, plasticity_scale=scale, eps=1e-25)
  scaled = [g * jnp.float32(factor) for g in gradients]
  np.testing.assert_allclose(
    alphas(scaled), alphas(gradients), rtol=1e-4, atol=1e-5
  )


@hypothesis.given(
  seed=seeds,
  shape=shapes,
  low=st.floats(0, 1),
  width=st.floats(0, 2),
  scale=st.floats(0, 1),
)
def test_alpha_stays_within_its_bounds(seed, shape, low, width, scale):
  rng = np.random.default_rng(seed)
  gradients = [_array(rng, shape) for _ in range(3)]
  alpha = _alphas(
    gradients, min_alpha=low, max_alpha=low + width, plasticity_scale=scale
  )
  assert np.min(alpha) >= low * (1 - 1e-5) - 1e-6
  assert np.max(alpha) <= (low + width) * (1 + 1e-5) + 1e-6


@hypothesis.given(seed=seeds, shape=shapes, scale=st.floats(0, 5))
def test_alpha_is_extrapolated_and_not_clipped_again(seed, shape, scale):
  rng = np.random.default_rng(seed)
  gradients = [_array(rng, shape) for _ in range(4)]
  gradient_only = _alphas(gradients, gradient_only=True)
  full = _alphas(gradients)
  np.testing.assert_allclose(
    _alphas(gradients, plasticity_scale=scale),
    gradient_only + scale * (full - gradient_only),
    rtol=1e-4,
    atol=1e-4,
  )


def test_extrapolated_alpha_leaves_its_bounds():
  # Activity lags behind a gradient that moves from one element to the other.
  gradients = [jnp.array([3.0, 1e-3]), jnp.array([1e-3, 3.0])]
  alpha = _alphas(gradients, plasticity_scale=5.0)
  assert np.min(alpha) < 0
  assert np.max(alpha) > 2


@hypothesis.given(seed=seeds, shape=shapes)
def test_all_but_memory_agree_at_first(seed, shape):
  # From zero, activity is (1 - ρ)·|g|, which normalises to what |g| does, and
  # memory (1 - β₁) / √(1 - β₂) everywhere that g is not 0.
  gradient = [_array(np.random.default_rng(seed), shape)]
  weights = dict(activity_weight=0.7, gradient_weight=0.3, memory_weight=0.0)
  np.testing.assert_allclose(
    _alphas(gradient, **weights),
    _alphas(gradient, gradient_only=True),
    rtol=1e-4,
  )
  weights = dict(activity_weight=0.0, gradient_weight=0.0, memory_weight=1.0)
  np.testing.assert_allclose(_alphas(gradient, **weights), 1.0, rtol=1e-3)


@pytest.mark.parametrize('shape', [(), (1,), (1, 1, 1)])
def test_leaves_of_one_element_are_inert(shape):
  # The one element is its own mean.
  rng = np.random.default_rng(0)
  gradients = [_array(rng, shape) for _ in range(10)]
  alpha = _alphas(gradients, plasticity_scale=2.0)
  np.testing.assert_allclose(alpha, 1.0, rtol=1e-4)


@hypothesis.given(seed=seeds, shape=shapes, scale=st.floats(0, 2))
def test_one_alpha_per_tensor_is_inert(seed, shape, scale):
  # The mean of a mean-normalised signal is 1.
  rng = np.random.default_rng(seed)
  gradients = [_array(rng, shape) for _ in range(3)]
  alpha = _alphas(gradients, parameterwise=False, plasticity_scale=scale)
  np.testing.assert_allclose(alpha, 1.0, rtol=1e-4)


def test_one_alpha_per_tensor_is_the_sum_of_weights():
  rng = np.random.default_rng(0)
  gradients = [_array(rng, (3, 4)) for _ in range(3)]
  weights = dict(activity_weight=0.6, gradient_weight=0.5, memory_weight=0.4)
  alpha = _alphas(gradients, parameterwise=False, **weights)
  np.testing.assert_allclose(alpha, 1.5, rtol=1e-4)
  alpha = _alphas(gradients, parameterwise=False, max_alpha=1.2, **weights)
  np.testing.assert_allclose(alpha, 1.2, rtol=1e-4)


@hypothesis.given(seed=seeds, magnitude=st.floats(1e-3, 1e3))
def test_one_alpha_per_tensor_is_that_of_equal_magnitudes(seed, magnitude):
  # Where all elements are alike, an α for each is an α for all.
  signs = np.random.default_rng(seed).choice([-1.0, 1.0], size=(5, 3, 4))
  gradients = list(jnp.asarray(signs * magnitude, 'float32'))
  one = dict(activity_weight=1.0, gradient_weight=0.5, memory_weight=0.0)
  np.testing.assert_allclose(
    _alphas(gradients, parameterwise=True, **one),
    _alphas(gradients, parameterwise=False, **one),
    rtol=1e-5,
  )


# Symmetries.

DECAYING = neuroplastic(weight_decay=0.1)


@hypothesis.given(seed=seeds, dtype=st.sampled_from(DTYPES))
def test_the_opposite_gradients_give_the_opposite_updates(seed, dtype):
  params, gradients = _problem(seed, 3, dtype)
  negate = functools.partial(jax.tree.map, jnp.negative)
  tx = DECAYING
  actual, _ = _updates(tx, negate(params), [negate(g) for g in gradients])
  expected, _ = _updates(tx, params, gradients)
  chex.assert_trees_all_equal(actual, [negate(u) for u in expected])


@hypothesis.given(seed=seeds)
def test_the_shape_of_a_tensor_does_not_matter(seed):
  rng = np.random.default_rng(seed)
  params, *gradients = (_array(rng, (4, 6)) for _ in range(4))
  tx = DECAYING
  expected, _ = _updates(tx, params, gradients)
  for shape in ((24,), (2, 3, 4)):
    actual, _ = _updates(
      tx, params.reshape(shape), [g.reshape(shape) for g in gradients]
    )
    flat = [u.reshape(4, 6) for u in actual]
    chex.assert_trees_all_close(flat, expected, rtol=1e-5, atol=1e-7)


@hypothesis.given(seed=seeds)
def test_tensors_do_not_mix(seed):
  params, gradients = _problem(seed, 3)
  tx = DECAYING
  together, _ = _updates(tx, params, gradients)
  alone = lambda tree: tree['layer']['w']
  expected, _ = _updates(tx, alone(params), list(map(alone, gradients)))
  chex.assert_trees_all_close(
    list(map(alone, together)), expected, rtol=1e-5, atol=1e-7
  )


# Weight decay.


@pytest.mark.parametrize(
  'weight_decay', [0.1, optax.linear_schedule(0.0, 0.2, 3)]
)
@pytest.mark.parametrize('mask', [None, {'layer': True, 'scale': False}])
def test_coupled_decay_without_homeostasis_is_added(weight_decay, mask):
  params, gradients = _problem(4, 4)
  bare = neuroplastic(homeostasis=None)
  actual, _ = _updates(
    neuroplastic(
      homeostasis=None, weight_decay=weight_decay, weight_decay_mask=mask
    ),
    params,
    gradients,
  )
  decay = optax.add_decayed_weights(weight_decay, mask)
  expected, _ = _updates(optax.chain(bare, decay), params, gradients)
  chex.assert_trees_all_close(actual, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
  'weight_decay', [0.1, optax.linear_schedule(0.0, 0.2, 3)]
)
@pytest.mark.parametrize(
  'mask',
  [
    None,
    {'layer': True, 'scale': False},
    lambda params: jax.tree.map(lambda p: p.ndim > 1, params),
  ],
)
def test_decoupled_decay_is_chained(weight_decay, mask):
  params, gradients = _problem(5, 4)
  actual, _ = _updates(
    neuroplastic_optimizer(
      0.1,
      weight_decay=weight_decay,
      decoupled_weight_decay=True,
      weight_decay_mask=mask,
    ),
    params,
    gradients,
  )
  chain = optax.chain(
    neuroplastic(),
    optax.add_decayed_weights(weight_decay, mask),
    optax.scale_by_learning_rate(0.1),
  )
  expected, _ = _updates(chain, params, gradients)
  chex.assert_trees_all_close(actual, expected, rtol=1e-6)


def test_only_coupled_decay_is_bounded():
  params = {'w': jnp.full(4, 100.0)}
  gradient = {'w': jnp.ones(4)}
  norms = {}
  for decoupled in (False, True):
    tx = neuroplastic_optimizer(
      1.0, weight_decay=1.0, decoupled_weight_decay=decoupled
    )
    (updates,), _ = _updates(tx, params, [gradient])
    norms[decoupled] = optax.tree.norm(updates)
  assert norms[False] < 1.01
  assert norms[True] > 199


def test_a_mask_may_be_a_prefix_or_a_function():
  params, gradients = _problem(6, 2)
  masks = [
    {'layer': True, 'scale': False},
    {'layer': {'w': True, 'b': True}, 'scale': False},
    {'layer': np.bool_(True), 'scale': np.bool_(False)},
    lambda params: {'layer': True, 'scale': params['scale'].ndim > 0},
  ]
  first, *others = (
    _updates(
      neuroplastic(weight_decay=0.1, weight_decay_mask=mask),
      params,
      gradients,
    )[0]
    for mask in masks
  )
  for other in others:
    chex.assert_trees_all_equal(other, first)
  for constant in (True, False):
    masked, _ = _updates(
      neuroplastic(
        weight_decay=0.1,
        weight_decay_mask=lambda _, constant=constant: constant,
      ),
      params,
      gradients,
    )
    expected, _ = _updates(
      neuroplastic(weight_decay=0.1 * constant), params, gradients
    )
    chex.assert_trees_all_equal(masked, expected)


# Homeostasis.


@jax.jit
def _regulated(gradient, homeostasis):
  """The first update of one gradient."""
  tx = neuroplastic(homeostasis=homeostasis)
  return tx.update(gradient, tx.init(gradient))[0]


@hypothesis.given(
  seed=seeds,
  shape=shapes,
  magnitude=magnitudes,
  max_norm=st.floats(1e-3, 1e3),
  target=st.floats(0, 1e3),
  rate=st.floats(0, 1e3),
)
def test_norms_of_updates_are_bounded(
  seed, shape, magnitude, max_norm, target, rate
):
  gradient = np.random.default_rng(seed).normal(size=shape)
  gradient = jnp.asarray(gradient * magnitude, 'float32')
  update = _regulated(gradient, Homeostasis(max_norm, target, rate))
  # The gain that follows the clip is at most 1.5.
  assert np.linalg.norm(update) <= 1.5 * max_norm * (1 + 1e-5)


@hypothesis.given(
  seed=seeds,
  shape=shapes,
  magnitude=magnitudes.filter(lambda m: m > 1e-10),
  ratio=st.floats(0.01, 10),
)
def test_the_norm_clip_alone(seed, shape, magnitude, ratio):
  # However large or small: float32 could not hold the squares of most.
  gradient = np.random.default_rng(seed).normal(size=shape)
  gradient = jnp.asarray(gradient * magnitude, 'float32')
  free = np.asarray(_regulated(gradient, None), np.float64)
  norm = np.linalg.norm(free)
  max_norm = ratio * norm
  clip = Homeostasis(max_update_norm=max_norm, target_rms=None)
  factor = max_norm / (norm + 1e-8) if norm > max_norm else 1.0
  np.testing.assert_allclose(
    _regulated(gradient, clip), factor * free, rtol=1e-5
  )


@pytest.mark.parametrize(
  ('target', 'factor'), [(0.0, 0.5), (1e6, 1.5)], ids=['down', 'up']
)
def test_the_rms_gain_alone(target, factor):
  # So far from its target, the gain is at its bound.
  _, (gradient,) = _problem(7, 1)
  gradient = jax.tree.map(lambda g: g + 10 * jnp.sign(g), gradient)
  pull = Homeostasis(
    max_update_norm=None, target_rms=target, adaptation_rate=1.0
  )
  free, _ = _updates(neuroplastic(homeostasis=None), gradient, [gradient])
  pulled, _ = _updates(neuroplastic(homeostasis=pull), gradient, [gradient])
  expected = jax.tree.map(lambda u: factor * u, free)
  chex.assert_trees_all_close(pulled, expected, rtol=1e-6)


@pytest.mark.parametrize(
  'scale',
  [
    {'layer': 2.0, 'scale': 3.0},
    {'layer': {'w': 2.0, 'b': np.float32(2)}, 'scale': jnp.float32(3)},
    lambda params: {'layer': 2.0, 'scale': 3.0 + params['scale'].ndim},
  ],
  ids=['prefix', 'tree', 'function'],
)
def test_target_rms_scale_scales_the_target_of_its_leaves(scale):
  _, (gradient,) = _problem(8, 1)
  pull = functools.partial(
    Homeostasis, max_update_norm=1.0, adaptation_rate=0.5
  )

  def updates(homeostasis):
    tx = neuroplastic(homeostasis=homeostasis)
    return _updates(tx, gradient, [gradient])[0][0]

  scaled = updates(pull(target_rms=0.1, target_rms_scale=scale))
  twice, thrice = updates(pull(target_rms=0.2)), updates(pull(target_rms=0.3))
  chex.assert_trees_all_close(scaled['layer'], twice['layer'], rtol=1e-6)
  chex.assert_trees_all_close(scaled['scale'], thrice['scale'], rtol=1e-6)


def test_homeostasis_is_on_without_a_base_and_off_over_one():
  params, gradients = _problem(9, 2)

  def updates(base, **arguments):
    return _updates(neuroplastic(base, **arguments), params, gradients)[0]

  chex.assert_trees_all_equal(
    updates(None), updates(None, homeostasis=Homeostasis())
  )
  chex.assert_trees_all_equal(
    updates(optax.trace(0.9)), updates(optax.trace(0.9), homeostasis=None)
  )


# The base.


def test_alpha_comes_from_the_raw_gradient():
  params, gradients = _problem(10, 3)
  # Whatever the base makes of a gradient, α is what it is without a base.
  constant = optax.stateless(
    lambda updates, params: jax.tree.map(jnp.ones_like, updates)
  )
  alpha, _ = _updates(neuroplastic(constant), params, gradients)
  updates, _ = _updates(neuroplastic(homeostasis=None), params, gradients)
  expected = [
    jax.tree.map(lambda a, g: a * g, a, g)
    for a, g in zip(alpha, gradients, strict=True)
  ]
  chex.assert_trees_all_close(updates, expected, rtol=1e-6)


def test_the_base_gets_params_and_extra_args():
  def update(updates, state, params, *, factor, **_):
    return jax.tree.map(lambda u, p: factor * p, updates, params), state

  base = optax.GradientTransformationExtraArgs(optax.init_empty_state, update)
  params, (gradient,) = _problem(11, 1)
  for tx, sign in (
    (neuroplastic(base, **NEUTRAL), 1),
    (neuroplastic_optimizer(1.0, base=base, **NEUTRAL), -1),
  ):
    updates, _ = tx.update(gradient, tx.init(params), params, factor=3.0)
    expected = jax.tree.map(lambda p, sign=sign: sign * 3.0 * p, params)
    chex.assert_trees_all_equal(updates, expected)


# The state.


def _bytes(tree):
  return sum(leaf.nbytes for leaf in jax.tree.leaves(tree))


def test_the_state_holds_three_moments_and_a_count():
  params, _ = _problem(12, 0)
  state = neuroplastic().init(params)
  assert _bytes(state) == 3 * _bytes(params) + 4
  for name in MOMENTS:
    moment = getattr(state, name)
    assert jax.tree.structure(moment) == jax.tree.structure(params)


def test_the_gradient_only_state_holds_a_count():
  params, gradients = _problem(13, 1)
  tx = neuroplastic(gradient_only=True)
  _, state = _updates(tx, params, gradients)
  assert len(jax.tree.leaves(state)) == 1
  assert [getattr(state, name) for name in MOMENTS] == [None] * 3


@pytest.mark.parametrize('state_dtype', ['bfloat16', jnp.float16])
def test_state_dtype_halves_the_state(state_dtype):
  params, gradients = _problem(14, 3)
  full, half = neuroplastic(), neuroplastic(state_dtype=state_dtype)
  assert _bytes(half.init(params)) - 4 == (_bytes(full.init(params)) - 4) / 2
  # It rounds the moments, and hardly touches the updates.
  actual, _ = _updates(half, params, gradients)
  expected, _ = _updates(full, params, gradients)
  chex.assert_trees_all_close(actual, expected, rtol=0.03, atol=1e-3)


def test_moments_are_the_averages_they_are_said_to_be():
  gradient = {'w': jnp.array([3.0, -4.0])}
  tx = neuroplastic(activity_decay=0.5, memory_b1=0.75, memory_b2=0.875)
  _, state = _updates(tx, gradient, [gradient] * 2)
  np.testing.assert_allclose(state.activity['w'], [2.25, 3.0])
  np.testing.assert_allclose(state.memory_mu['w'], [1.3125, -1.75])
  np.testing.assert_allclose(state.memory_nu['w'], [2.109375, 3.75])


def test_the_count_saturates():
  tx = neuroplastic(plasticity_scale=lambda count: count * 0.0)
  params = jnp.ones(2)
  most = jnp.iinfo(jnp.int32).max
  state = tx.init(params)._replace(count=jnp.asarray(most, jnp.int32))
  updates, state = jax.jit(tx.update)(params, state)
  assert state.count == most
  chex.assert_tree_all_finite(updates)


def test_schedules_see_the_number_of_updates_before():
  counts = []

  def schedule(count):
    jax.debug.callback(lambda count: counts.append(int(count)), count)
    return 1.0

  params, gradients = _problem(15, 3)
  for name in ('plasticity_scale', 'weight_decay'):
    counts.clear()
    _updates(neuroplastic(**{name: schedule}), params, gradients)
    jax.effects_barrier()
    assert sorted(set(counts)) == [0, 1, 2], name
