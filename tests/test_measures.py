"""Measures, held against NumPy, at zeros, one unit, and every magnitude."""

import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from neuroplastic_optax import measures
from neuroplastic_optax import units

RNG = np.random.default_rng(0)
H = RNG.normal(size=(4, 5, 7)) * (RNG.uniform(size=(4, 5, 7)) < 0.4)
H[..., 3], H[..., 5] = 0.0, 0.01 * H[..., 5]
ROWS = H.reshape(20, 7)


def _sigma():
  return np.linalg.svd(ROWS)[1]


def _first(weights, part):
  share = np.cumsum(weights) / weights.sum()
  return 1 + int(np.argmax(share >= part))


def _entropy():
  p = _sigma()[_sigma() > 1e-12]
  p = p / p.sum()
  return np.exp(-(p * np.log(p)).sum())


def _bits():
  p = (ROWS > 0).mean(0)
  with np.errstate(all='ignore'):
    return np.nansum(-p * np.log2(p) - (1 - p) * np.log2(1 - p)) / len(p)


_SIZES = abs(ROWS).mean(0) / (abs(ROWS).mean() + 1e-9)
EXPECTED = {
  'dormant_fraction': ((0.1,), (_SIZES <= 0.1).mean()),
  'dead_fraction': ((), 1 / 7),
  'zero_fraction': ((), (ROWS == 0).mean()),
  'effective_rank': ((), _entropy()),
  'spectral_rank': ((0.2,), _first(_sigma(), 0.8)),
  'approximate_rank': ((0.2,), _first(_sigma() ** 2, 0.8)),
  'stable_rank': ((), (_sigma() ** 2).sum() / _sigma()[0] ** 2),
  'sign_entropy': ((), _bits()),
}


@pytest.mark.parametrize('name', EXPECTED)
def test_measure_of_activations_is_its_formula(name):
  arguments, expected = EXPECTED[name]
  measure = jax.jit(lambda h: getattr(measures, name)(h, *arguments))
  actual = measure(jnp.asarray(H, 'float32'))
  assert actual.shape == ()
  assert actual.dtype == jnp.float32
  np.testing.assert_allclose(actual, expected, rtol=1e-5)
  # Of one unit, which is all there is.
  one = measure(jnp.asarray(H[..., :1], 'float32'))
  known = {
    'dormant_fraction': 0, 'dead_fraction': 0, 'zero_fraction': None,
    'sign_entropy': None,
  }.get(name, 1)  # fmt: skip
  assert known is None or one == pytest.approx(known, rel=1e-6)
  assert measure(jnp.asarray(H, 'bfloat16')).dtype == jnp.float32


@pytest.mark.parametrize('name', EXPECTED)
def test_measure_of_zeros_and_of_extremes_is_finite(name):
  measure = getattr(measures, name)
  zeros = measure(jnp.zeros((3, 2)))
  assert zeros == (1 if name.endswith('_fraction') else 0)
  for size in (1e-30, 1e30):
    scaled = measure(jnp.asarray(size * H, 'float32'))
    assert np.isfinite(scaled)
    if name != 'dormant_fraction':
      np.testing.assert_allclose(
        scaled, measure(jnp.asarray(H, 'float32')), rtol=1e-4
      )


def test_ranks_of_an_identity_are_its_size_and_of_an_outer_product_1():
  outer = jnp.outer(jnp.arange(1.0, 5), jnp.arange(1.0, 4))
  for name in (
    'effective_rank', 'spectral_rank', 'approximate_rank', 'stable_rank',
  ):  # fmt: skip
    rank = getattr(measures, name)
    assert rank(jnp.eye(6)) == pytest.approx(6, rel=1e-5)
    assert rank(outer) == pytest.approx(1, rel=1e-4)
  assert measures.spectral_rank(jnp.eye(6), 0.0) == 6


def test_small_singular_values_count():
  """Of a Gram matrix, they would be lost in float32."""
  h = jnp.diag(jnp.array([1.0, 1e-4]))
  p = np.array([1, 1e-4]) / 1.0001
  expected = np.exp(-(p * np.log(p)).sum())
  np.testing.assert_allclose(measures.effective_rank(h), expected, rtol=1e-6)


def test_norms_of_trees():
  tree = {'a': RNG.normal(size=(3, 4)), 'b': [RNG.normal(size=5), None, 2.0]}
  flat = np.concatenate([np.ravel(x) for x in jax.tree.leaves(tree)])
  other = jax.tree.map(lambda x: np.asarray(x) * 2 + 1, tree)
  norm = np.linalg.norm(flat)
  np.testing.assert_allclose(measures.weight_norm(tree), norm, rtol=1e-6)
  np.testing.assert_allclose(
    measures.weight_rms(tree), norm / np.sqrt(len(flat)), rtol=1e-6
  )
  np.testing.assert_allclose(
    measures.distance(tree, other), np.linalg.norm(flat + 1), rtol=1e-6
  )
  for empty in ({}, {'a': jnp.zeros((0, 3)), 'b': jnp.zeros(2)}):
    assert measures.weight_norm(empty) == measures.weight_rms(empty) == 0
  for size in (1e-30, 1e30):
    np.testing.assert_allclose(
      measures.weight_norm([jnp.full(4, size)]), 2 * size, rtol=1e-6
    )


def test_gradient_fraction_is_what_the_rule_recycles():
  grads = {
    'up': jnp.asarray(RNG.normal(size=(3, 8)), 'float32').at[:, 2].set(0.0),
    'gate': jnp.asarray(RNG.normal(size=(3, 8)), 'float32').at[:, 2].set(0.0),
    'down': jnp.ones((8, 2)),
  }
  layers = [units.Layer('h', ('up', 'gate'), 'down')]
  fraction = jax.jit(
    lambda grads: measures.gradient_fraction(grads, layers, 0.5)
  )
  both = np.concatenate([grads['up'], grads['gate']])
  score = abs(both).mean(0) / (abs(both).mean() + 1e-8)
  assert fraction(grads)['h'] == (score <= 0.5).mean() > 0
  zeros = jax.tree.map(jnp.zeros_like, grads)
  assert fraction(zeros)['h'] == 0


def test_churn_and_plasticity():
  logits = jnp.asarray(RNG.normal(size=(2, 10, 3)), 'float32')
  other = logits[:, ::-1]
  expected = (np.argmax(logits, -1) != np.argmax(other, -1)).mean()
  assert measures.churn(logits, other) == pytest.approx(expected)
  assert measures.churn(logits, logits) == 0
  before, after = jnp.array([0.0, 1.0, 1.0]), jnp.array([0.0, 2.0, 0.25])
  np.testing.assert_allclose(measures.plasticity(before, after), [1, 0, 0.75])


def test_every_measure_has_a_formula_and_a_case_in_its_docstring():
  for name in measures.__all__:
    text = inspect.getdoc(getattr(measures, name))
    assert 'Examples:' in text, name
