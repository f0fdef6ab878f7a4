"""Each control removes the property of α it is named after, no other."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from experiments import optimizers
from experiments.optimizers import controls
from neuroplastic_optax import modulations
from neuroplastic_optax import neuroplastic

SHAPES = {'a': (7,), 'b': (6, 5), 'c': (1,)}
# With it, an update is what the rule multiplies the base by.
ONES = optax.stateless(lambda updates, _: jax.tree.map(jnp.ones_like, updates))


def _gradients(steps=3, scale=1.0, shapes=None):
  """Heavy-tailed ones, so that α meets its bounds."""
  shapes = shapes or SHAPES
  rng = np.random.default_rng(0)
  return [
    {
      name: jnp.float32(scale * rng.normal(size=shape) ** 3)
      for name, shape in shapes.items()
    }
    for _ in range(steps)
  ]


def _updates(rule, gradients, **kwargs):
  """Of every step, without homeostasis; κ = 2, as published."""
  kwargs = {'homeostasis': None, 'plasticity_scale': 2.0, **kwargs}
  optimizer = neuroplastic(modulation=rule, **kwargs)
  update = jax.jit(optimizer.update)
  state = optimizer.init(jax.tree.map(jnp.zeros_like, gradients[0]))
  updates = []
  for gradient in gradients:
    found, state = update(gradient, state)
    updates.append(jax.tree.map(np.asarray, found))
  return updates


def _coefficients(rule, gradients, **kwargs):
  return _updates(rule, gradients, base=ONES, **kwargs)


def test_mean_of_alpha_is_that_of_the_published_ablation():
  gradients = _gradients()
  alpha = _coefficients(modulations.Direct(), gradients)
  found = _coefficients(controls.MeanOfGradientOnly(), gradients)
  for step, gradient in enumerate(gradients):
    for name in SHAPES:
      magnitude = np.abs(np.float64(gradient[name]))
      ablation = np.clip(magnitude / magnitude.mean(), 0.5, 1.5)
      before = np.float64(alpha[step][name])
      expected = before * ablation.mean() / before.mean()
      np.testing.assert_allclose(found[step][name], expected, rtol=1e-5)
  # It is the ablation's own arm whose mean this is.
  arm = _coefficients(
    modulations.Direct(),
    gradients,
    gradient_only=True,
    min_alpha=0.5,
    max_alpha=1.5,
  )
  means = lambda steps: [[x.mean() for x in each.values()] for each in steps]
  np.testing.assert_allclose(means(found), means(arm), rtol=1e-5)
  assert not np.allclose(means(alpha), means(arm), rtol=0.01)


@pytest.mark.parametrize(
  ('rule', 'bare'),
  [
    (modulations.Direct(normalize='norm'), modulations.Direct()),
    (controls.ShuffledUnitRms(), controls.Shuffled()),
  ],
)
@pytest.mark.parametrize('scale', [1e-20, 1.0, 1e20])
def test_unit_rms_update_has_the_norm_of_the_gradient(scale, rule, bare):
  gradients = _gradients(scale=scale)
  direct = _updates(bare, gradients)
  found = _updates(rule, gradients)
  for gradient, step, modulated in zip(gradients, found, direct, strict=True):
    for name in SHAPES:
      norms = [
        np.linalg.norm(np.float64(x[name])) for x in (gradient, step, modulated)
      ]
      np.testing.assert_allclose(norms[1], norms[0], rtol=1e-5)
      expected = np.float64(modulated[name]) * norms[0] / norms[2]
      np.testing.assert_allclose(step[name], expected, rtol=1e-5)


def test_zero_gradient_gives_zero_updates():
  zeros = jax.tree.map(jnp.zeros_like, _gradients(1)[0])
  for name in (
    *('full_no_clip', 'gradient_only_same_range', 'unit_mean', 'unit_rms'),
    *('mean_of_gradient_only', 'shuffled'),
  ):
    arm = optimizers.ARMS[name]
    optimizer = arm.build(arm.values({}), optimizers.PUBLISHED)
    state = optimizer.init(zeros)
    for _ in range(2):
      updates, state = optimizer.update(zeros, state, zeros)
      jax.tree.map(np.testing.assert_array_equal, updates, zeros)


def test_large_update_is_clipped_except_in_no_clip():
  gradient = {'a': jnp.full(4, 100.0)}
  norms = {}
  for name in ('full', 'full_no_clip'):
    arm = optimizers.ARMS[name]
    optimizer = arm.build(
      arm.values({'learning_rate': 1.0}), optimizers.PUBLISHED
    )
    updates, _ = optimizer.update(gradient, optimizer.init(gradient), gradient)
    norms[name] = float(jnp.linalg.norm(updates['a']))
  assert norms['full'] < 1.1
  assert norms['full_no_clip'] > 50


# A few elements; so many that they are not sorted; a prime number of those.
MANY = {
  'few': (5, 4),
  'many': (80, 72),
  'prime': (4099,),
  'volume': (2, 9, 997),
}


def test_shuffled_alpha_is_a_permutation_of_alpha():
  gradients = _gradients(shapes=MANY)
  alpha = _coefficients(modulations.Direct(), gradients)
  found = _coefficients(controls.Shuffled(), gradients)
  for step, gradient in enumerate(gradients):
    for name in MANY:
      before, after = alpha[step][name], found[step][name]
      np.testing.assert_array_equal(np.sort(before, None), np.sort(after, None))
      assert (before != after).any()
    # The elements do not know theirs.
    magnitude = np.abs(gradient['many']).ravel()
    seen = [np.corrcoef(magnitude, x[step]['many'].ravel())[0, 1]
            for x in (alpha, found)]  # fmt: skip
    assert seen[0] > 0.3
    assert abs(seen[1]) < 0.05


def _order(coefficients, alpha):
  """Where each element of α went; they must differ."""
  values = list(alpha)
  return [values.index(x) for x in coefficients]


def test_tensors_updates_trials_and_seeds_differ_in_permutation():
  magnitude = jnp.linspace(0.8, 1.2, 12)  # Within the bounds, all different.
  # The signs tell tensors apart; α does not see them in its first update.
  signs = jnp.float32([1, -1] * 6)
  gradient = {'a': magnitude, 'b': magnitude * signs}

  def orders(rule, gradient=gradient):
    kwargs = dict(gradient_only=True)
    alpha = _coefficients(modulations.Direct(), [gradient] * 2, **kwargs)
    found = _coefficients(rule, [gradient] * 2, **kwargs)
    return [
      _order(step[name], before[name])
      for step, before in zip(found, alpha, strict=True)
      for name in ('a', 'b')
    ]

  found = orders(controls.Shuffled())
  assert found == orders(controls.Shuffled())
  found += orders(controls.Shuffled(seed=1))
  found += orders(controls.Shuffled(), jax.tree.map(lambda x: 2 * x, gradient))
  assert all(sorted(order) == list(range(12)) for order in found)
  assert len({tuple(order) for order in found}) == len(found) == 12


def test_trials_and_slices_shuffle_as_they_would_alone():
  gradients = [
    jax.tree.map(lambda *x: jnp.stack(x), *trials)
    for trials in zip(*(_gradients(2, scale) for scale in (1, 2)), strict=True)
  ]
  alone = [
    _coefficients(controls.Shuffled(), _gradients(2, scale)) for scale in (1, 2)
  ]
  stacked = _coefficients(controls.Shuffled(), gradients, stacked_axes=1)
  optimizer = neuroplastic(
    ONES,
    modulation=controls.Shuffled(),
    homeostasis=None,
    plasticity_scale=2.0,
  )
  state = jax.vmap(optimizer.init)(gradients[0])
  for step, gradient in enumerate(gradients):
    mapped, state = jax.jit(jax.vmap(optimizer.update))(gradient, state)
    for name in SHAPES:
      for trial in range(2):
        expected = alone[trial][step][name]
        for found in (stacked[step][name], mapped[name]):
          np.testing.assert_allclose(found[trial], expected, rtol=1e-5)


def test_a_large_permutation_is_as_good_as_uniform():
  rows, columns = 72, 80
  size = rows * columns
  permuted = jax.jit(controls.permuted)
  x = jnp.arange(size).reshape(rows, columns)
  orders = np.stack(
    [permuted(jax.random.key(i), x).ravel() for i in range(200)]
  )
  # Where an element goes: the mean place of each is within five deviations.
  places = np.argsort(orders, axis=1)
  deviation = size / np.sqrt(12 * len(orders))
  assert abs(places.mean(0) - size / 2).max() < 5 * deviation
  # Where neighbours go, in a row and in a column: a pair lands in one row, or
  # in one column, as often as any two elements do.
  for step in (1, columns):
    for i, j in ((0, step), (size // 2, size // 2 + step)):
      row = places // columns
      column = places % columns
      assert np.mean(row[:, i] == row[:, j]) < 0.07
      assert np.mean(column[:, i] == column[:, j]) < 0.07
  gaps = np.diff(places, axis=1)
  assert np.mean(gaps == 1) < 3 / size
  assert abs(np.mean(np.abs(gaps)) / (size / 3) - 1) < 0.01
