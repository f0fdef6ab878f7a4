"""Noise: its distribution, when draws differ, and when they do not."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from neuroplastic_optax import mechanisms
from neuroplastic_optax.mechanisms import _noise
from tests.arrays import device_mesh

LIKE = jnp.zeros((300, 700))
SCIPY = {
  'normal': scipy.stats.norm(),
  'laplace': scipy.stats.laplace(),
  'uniform': scipy.stats.uniform(-1, 2),
}


def _draw(name='normal', seed=0, count=0, leaf=0, like=LIKE):
  data = _noise.key_data(seed)
  pairs = _noise.words(data, jnp.int32(count), leaf + 1)
  return np.asarray(_noise.DISTRIBUTIONS[name](pairs[leaf], like))


@pytest.mark.parametrize('name', SCIPY)
def test_draws_have_their_distribution(name):
  for seed in (0, 1, 12345):
    x = _draw(name, seed).ravel()
    assert scipy.stats.kstest(x, SCIPY[name].cdf).pvalue > 1e-3
    assert np.isfinite(x).all()
    # The mean and the variance, within five standard errors.
    n, sd = x.size, SCIPY[name].std()
    assert abs(x.mean()) < 5 * sd / n**0.5
    fourth = SCIPY[name].stats('k') + 2
    assert abs(x.var() / sd**2 - 1) < 5 * (fourth / n) ** 0.5


def test_functions_are_as_exact_as_float32():
  """A wrong coefficient would show in no sample of this size."""
  pair = _noise.words(_noise.key_data(0), jnp.int32(0), 1)[0]
  bits = _noise._bits(pair, LIKE.shape)
  fraction, t = (
    np.asarray(x, np.float64)
    for x in (_noise._fraction(bits), _noise._signed(bits * _noise._GOLDEN))
  )
  radius = np.sqrt(-2 * np.log(fraction))
  np.testing.assert_allclose(
    _draw('normal'), radius * np.cos(np.pi * t), rtol=0, atol=2e-6
  )
  np.testing.assert_allclose(
    abs(_draw('laplace')), -np.log(fraction), rtol=1e-6, atol=2e-7
  )


def _lowbias32(x):
  """The hash of Chris Wellons, word by word."""
  for shift, factor in ((16, 0x7FEB352D), (15, 0x846CA68B), (16, 1)):
    x = (x ^ x >> shift) * factor % 2**32
  return x


def test_a_seed_draws_the_same_in_every_version():
  for first, second in ((0, 0), (0x12345678, 0xFEDCBA98)):
    pair = jnp.array([first, second], 'uint32')
    found = _noise.uniform(pair, jnp.zeros((3, 5)))
    for place, x in enumerate(found.ravel()):
      bits = _lowbias32(_lowbias32(place ^ first) ^ second)
      # The middle of one of 2²⁴ intervals; the first bit is the sign.
      signed = bits - (bits >> 31 << 32)
      assert x == ((signed >> 8) + 0.5) / 2**23


def test_rademacher_is_a_fair_coin():
  x = _draw('rademacher')
  assert set(np.unique(x)) == {-1.0, 1.0}
  assert abs(x.mean()) < 5 / x.size**0.5


@pytest.mark.parametrize('other', [dict(seed=1), dict(count=1), dict(leaf=1)])
def test_other_seeds_steps_and_leaves_are_independent(other):
  x, y = _draw().ravel(), _draw(**other).ravel()
  bound = 5 / x.size**0.5
  assert abs(np.corrcoef(x, y)[0, 1]) < bound
  assert abs(np.corrcoef(x**2, y**2)[0, 1]) < bound
  # Nor are they the same numbers elsewhere.
  assert len(np.intersect1d(x, y)) < 0.02 * x.size


def test_neighbours_are_independent_and_a_draw_is_repeatable():
  x = _draw().ravel()
  bound = 5 / x.size**0.5
  for lag in (1, 2, 700, 701, 1024):
    for power in (1, 2):
      y = x**power
      assert abs(np.corrcoef(y[lag:], y[:-lag])[0, 1]) < bound
  np.testing.assert_array_equal(_draw().ravel(), x)


@pytest.mark.parametrize('spec', [('x', None), (None, 'x'), (('x',), None)])
def test_a_draw_does_not_depend_on_sharding(spec):
  mesh = device_mesh()
  like = jnp.zeros((64, 128))
  placed = jax.device_put(like, jax.NamedSharding(mesh, jax.P(*spec)))
  pair = _noise.words(_noise.key_data(3), jnp.int32(0), 1)[0]
  draw = jax.jit(lambda pair, x: x + _noise.normal(pair, x))
  np.testing.assert_array_equal(draw(pair, placed), draw(pair, like))
  text = draw.lower(pair, placed).compile().as_text()
  assert 'all-gather' not in text
  assert 'all-reduce' not in text


def test_leaves_that_32_bits_cannot_count():
  like = jax.ShapeDtypeStruct((2**12, 2**11, 2**11), jnp.float32)
  pair = jax.ShapeDtypeStruct((2,), jnp.uint32)
  assert jax.eval_shape(_noise.normal, pair, like).shape == like.shape


KEYS = {
  'int': 7,
  'numpy': np.int64(7),
  'key': jax.random.key(7),
  'legacy': jax.random.PRNGKey(7),
}


@pytest.mark.parametrize('key', KEYS.values(), ids=KEYS)
def test_keys_of_all_kinds_draw_the_same(key):
  tx = mechanisms.shrink_and_perturb(perturb=1.0, key=key)
  state = tx.init(LIKE)
  expected = jax.random.key_data(jax.random.key(7))
  np.testing.assert_array_equal(state.key, expected)
  updates, _ = tx.update(LIKE, state, LIKE)
  plain = mechanisms.shrink_and_perturb(perturb=1.0, key=7)
  expected, _ = plain.update(LIKE, plain.init(LIKE), LIKE)
  np.testing.assert_array_equal(updates, expected)


@pytest.mark.parametrize('impl', ['threefry2x32', 'rbg', 'unsafe_rbg'])
def test_lanes_with_keys_of_their_own_draw_as_alone(impl):
  keys = jax.random.split(jax.random.key(0, impl=impl), 3)

  def draw(key):
    tx = mechanisms.shrink_and_perturb(perturb=1.0, key=key)
    return tx.update(jnp.zeros(9), tx.init(jnp.zeros(9)), jnp.zeros(9))[0]

  together = jax.vmap(draw)(keys)
  assert len(np.unique(together)) == 27
  for key, expected in zip(keys, together, strict=True):
    np.testing.assert_allclose(draw(key), expected, rtol=1e-6)


@pytest.mark.parametrize('key', [True, 1.5, 'seed', None, jnp.ones(2)])
def test_a_key_of_another_type_is_refused(key):
  with pytest.raises(TypeError, match='key must be an int seed or a JAX key'):
    mechanisms.sleep(key=key)


def test_seeds_have_64_bits_and_a_sign():
  for seed in (-(2**63), -5, 2**63 - 1):
    state = mechanisms.sleep(key=seed).init(LIKE)
    expected = jax.random.key_data(jax.random.key(seed))
    np.testing.assert_array_equal(state.key, expected)
  for seed in (-(2**63) - 1, 2**63):
    with pytest.raises(ValueError, match='key must be an int seed of 64 bits'):
      mechanisms.sleep(key=seed)


def test_many_keys_at_once_are_refused():
  for key in (jax.random.split(jax.random.key(0), 3), jnp.zeros(3, 'int32')):
    with pytest.raises(ValueError, match=r'For many keys, use jax\.vmap'):
      mechanisms.sleep(key=key)
