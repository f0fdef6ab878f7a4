"""Rules, held against their restatement in NumPy and at their edges."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from neuroplastic_optax import units
from tests.units import networks
from tests.units import reference

_CBP = dict(maturity=3, decay=0.9)
_SNR = dict(percentile=0.5, max_age=12, initial_age=3, adapt_every=10)
CASES = {
  'redo': ('Redo', dict(threshold=0.3), 4),
  'gradient': ('GradientMagnitude', dict(threshold=0.4), 3),
  'contribution': (
    'ContinualBackprop',
    dict(_CBP, replacement_rate=0.03, utility='contribution'),
    1,
  ),
  'adaptable': (
    'ContinualBackprop',
    dict(_CBP, replacement_rate=0.07, utility='adaptable_contribution'),
    2,
  ),
  'normalized': ('SelfNormalized', _SNR, 1),
  'normalized_seldom': ('SelfNormalized', _SNR, 4),
  'partial': (
    'CalibratedPartial', dict(rate=0.3, sharpness=2.0, decay=0.8), 3,
  ),
}  # fmt: skip


def fresh(shape):
  """Fresh weights that both sides know."""
  return np.linspace(-1.0, 1.0, int(np.prod(shape))).reshape(shape)


def _init(key, shape, dtype):
  del key
  return jnp.asarray(fresh(shape), dtype)


@pytest.mark.parametrize('name', CASES)
def test_rule_equals_its_restatement(name):
  rule, settings, every = CASES[name]
  params = networks.mlp_params()
  numpy = lambda kind: [
    np.asarray(params[k][kind], 'float64') for k in params
  ]  # fmt: skip
  expected = reference.Recycle(
    numpy('kernel'),
    numpy('bias'),
    functools.partial(getattr(reference, rule), **settings),
    every,
    fresh,
  )
  tx = units.recycle(
    optax.sgd(0.1),
    networks.mlp_layers(params),
    getattr(units, rule)(**settings),
    every,
    _init,
  )

  @jax.jit
  def step(params, state, x):
    g, h = networks.gradient(params, x)
    updates, state = tx.update(g, state, params, activations=h)
    return optax.apply_updates(params, updates), state, g, h

  state, total = tx.init(params), 0.0
  for x in networks.batches(50, n=2):
    params, state, g, h = step(params, state, x)
    shares = expected.update(
      [np.asarray(g[k]['kernel'], 'float64') for k in 'abc'],
      [np.asarray(g[k]['bias'], 'float64') for k in 'abc'],
      [np.asarray(h[k], 'float64') for k in 'ab'],
    )
    total += sum(r.sum() for r in shares)
    for i, k in enumerate('abc'):
      close = functools.partial(
        np.testing.assert_allclose, rtol=2e-4, atol=2e-5
      )
      close(params[k]['kernel'], expected.kernels[i])
      close(params[k]['bias'], expected.biases[i])
  assert total > 2
  recycled = units.recycled(state)
  np.testing.assert_allclose(
    6 * recycled['a'] + 5 * recycled['b'], total, rtol=1e-3
  )


def test_random_units_are_as_many_as_the_rate_says_and_all_get_their_turn():
  params = networks.mlp_params()
  tx = units.recycle(
    optax.sgd(0.1), networks.mlp_layers(params), units.RandomUnits(0.25)
  )
  zeros = jax.tree.map(jnp.zeros_like, params)
  step = jax.jit(lambda state: tx.update(zeros, state, params)[1])
  state, counts = tx.init(params), []
  for _ in range(100):
    state = step(state)
    counts.append([float(state.share[k].sum()) for k in 'ab'])
  # acc grows by 1.5 and 1.25.
  assert [sum(column) for column in zip(*counts, strict=True)] == [150, 125]
  assert {tuple(row) for row in counts} == {(1, 1), (2, 1), (2, 2)}
  assert all((state.total[k] > 10).all() for k in 'ab')


def test_gradient_magnitude_of_no_gradient_recycles_nothing():
  params = networks.mlp_params()
  tx = units.recycle(
    optax.sgd(0.1), networks.mlp_layers(params), units.GradientMagnitude(), 1
  )
  zeros = jax.tree.map(jnp.zeros_like, params)
  _, state = tx.update(zeros, tx.init(params), params)
  assert not any(r.any() for r in state.share.values())


def test_of_equal_utilities_the_first_is_recycled():
  params = {'a': jnp.ones((2, 4)), 'b': jnp.ones((4, 1))}
  rule = units.ContinualBackprop(replacement_rate=0.25, maturity=0)
  tx = units.recycle(
    optax.set_to_zero(), units.chain(params, ['a', 'b']), rule
  )  # fmt: skip
  _, state = tx.update(
    params, tx.init(params), params, activations={'a': jnp.ones((3, 4))}
  )
  np.testing.assert_array_equal(state.share['a'], [1, 0, 0, 0])
  np.testing.assert_array_equal(state.rule['a'].age, [0, 1, 1, 1])


@pytest.mark.parametrize(
  ('make', 'message'),
  [
    (lambda: units.Redo(-1.0), r'Redo\.threshold must be a number in \[0'),
    (lambda: units.GradientMagnitude('x'), 'GradientMagnitude.threshold'),
    (lambda: units.ContinualBackprop(2.0), 'ContinualBackprop.replacement_'),
    (lambda: units.ContinualBackprop(decay=1.0), 'ContinualBackprop.decay'),
    (lambda: units.ContinualBackprop(maturity=-1), 'ContinualBackprop.matur'),
    (lambda: units.ContinualBackprop(utility='x'), 'ContinualBackprop.util'),
    (lambda: units.SelfNormalized(1.5), 'SelfNormalized.percentile'),
    (lambda: units.SelfNormalized(max_age=0), 'SelfNormalized.max_age'),
    (lambda: units.SelfNormalized(adapt_every=0.5), 'SelfNormalized.adapt_'),
    (
      lambda: units.SelfNormalized(max_age=5, initial_age=6),
      'initial_age must be at most SelfNormalized.max_age',
    ),
    (lambda: units.CalibratedPartial(rate=1.1), 'CalibratedPartial.rate'),
    (lambda: units.CalibratedPartial(sharpness=-1), 'CalibratedPartial.shar'),
    (lambda: units.RandomUnits(-0.1), 'RandomUnits.rate'),
  ],
)
def test_bad_numbers_are_refused_by_name(make, message):
  with pytest.raises((ValueError, TypeError), match=message):
    make()
