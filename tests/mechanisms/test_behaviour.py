"""Each mechanism does on a small known case what it is for."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from neuroplastic_optax import mechanisms


def _train(tx, params, gradient, steps, **extra):
  """Params after so many updates, in one compiled loop."""

  @jax.jit
  def run(params, state):
    def step(_, carry):
      params, state = carry
      updates, state = tx.update(gradient(params), state, params, **extra)
      return optax.apply_updates(params, updates), state

    return jax.lax.fori_loop(0, steps, step, (params, state))

  return run(params, tx.init(params))


# Curl descent.


@pytest.mark.slow
@pytest.mark.parametrize('fraction', [0.0, 0.1, 0.3, 0.5, 0.7])
def test_curl_descent_is_stable_where_its_matrix_is(fraction):
  """Near a solution the residual obeys ṙ = -r(‖w₂‖²D₁ + W₁ᵀD₂W₁).

  That is of a linear network w₂ᵀW₁ᵀx with one output and whitened inputs; in
  which D₁ are the signs of the inputs and D₂ those of the hidden units.
  """
  agreed = {True: 0, False: 0}
  for seed in range(4):
    rng = np.random.default_rng(seed)
    inputs, hidden = 6, 10
    first = rng.normal(size=(inputs, hidden)) / inputs**0.5
    second = rng.normal(size=(hidden, 1)) / hidden**0.5
    # A teacher close by, so that the matrix hardly changes on the way.
    teacher = first @ second + 1e-3 * rng.normal(size=(inputs, 1))
    params = {'first': jnp.asarray(first), 'second': jnp.asarray(second)}
    tx = mechanisms.flip_signs(fraction, key=seed)
    state = tx.init(params)
    ones, _ = tx.update(jax.tree.map(jnp.ones_like, params), state)
    d1, d2 = (np.asarray(ones[k])[:, 0] for k in ('first', 'second'))
    matrix = (second.T @ second) * np.diag(d1) + first @ np.diag(d2) @ first.T
    slowest = np.linalg.eigvals(matrix).real.min()
    if abs(slowest) < 0.05:
      continue  # Too slow to tell.
    aim = jnp.asarray(teacher)
    loss = lambda p, aim=aim: (
      0.5 * jnp.sum((p['first'] @ p['second'] - aim) ** 2)
    )
    chain = optax.chain(tx, optax.scale_by_learning_rate(0.02))
    end, _ = _train(chain, params, jax.grad(loss), 2000)
    stable = slowest > 0
    assert (float(loss(end)) < 0.01 * float(loss(params))) == stable, seed
    agreed[stable] += 1
  assert agreed[fraction == 0.0]


# Exponentiated gradient.


def test_exponentiated_gradient_keeps_signs_of_any_step():
  rng = np.random.default_rng(0)
  tx = mechanisms.exponentiate()
  for dtype in ('float32', 'bfloat16', 'float16'):
    w = jnp.asarray(rng.normal(size=1000), dtype)
    signs = np.sign(np.asarray(w, float))
    state, update = tx.init(w), jax.jit(tx.update)
    for _ in range(5):
      g = jnp.asarray(30 * rng.normal(size=1000), dtype)
      g = jnp.sign(w) * -jnp.abs(g)
      updates, state = update(g, state, w)
      w = optax.apply_updates(w, updates)
      if dtype != 'float16' or abs(np.asarray(w, float)).min() > 1e-4:
        assert (np.sign(np.asarray(w, float)) == signs).all(), dtype
      w = jnp.where(abs(w) < 0.1, w * 0 + signs.astype(dtype), w)


# Forgetting.


def _two_tasks(seed=0):
  """Linear regressions on inputs that overlap a little: both can be solved."""
  rng = np.random.default_rng(seed)
  truth = rng.normal(size=10)
  masks = np.arange(10) < 6, np.arange(10) >= 4
  tasks = []
  for mask in masks:
    x = rng.normal(size=(200, 10)) * np.where(mask, 1.0, 0.05)
    tasks.append((jnp.asarray(x, jnp.float32), jnp.asarray(x @ truth)))
  # The second task wants other weights of what both see.
  x, y = tasks[1]
  tasks[1] = x, y + x[:, 5] * 2.0
  return [(x, jnp.asarray(y, jnp.float32)) for x, y in tasks]


def _after_both(make):
  tx = optax.chain(make, optax.sgd(0.05))
  tasks = _two_tasks()
  loss = lambda w, x, y: 0.5 * jnp.mean((x @ w - y) ** 2)
  params = jnp.zeros(10)
  state = tx.init(params)
  step = jax.jit(
    lambda w, s, x, y, new: tx.update(
      jax.grad(loss)(w, x, y), s, w, new_task=new
    )
  )
  rng = np.random.default_rng(0)
  for k, (x, y) in enumerate(tasks):
    for i in range(400):
      batch = rng.integers(0, len(x), 8)
      new = jnp.asarray(k > 0 and i == 0)
      updates, state = step(params, state, x[batch], y[batch], new)
      params = optax.apply_updates(params, updates)
  return [float(loss(params, *task)) for task in tasks]


KEEPERS = {
  'elastic': lambda: mechanisms.elastic_weight_consolidation(strength=200.0),
  'intelligence': lambda: mechanisms.synaptic_intelligence(strength=5.0),
}


@pytest.mark.slow
@pytest.mark.parametrize('make', KEEPERS.values(), ids=KEEPERS)
def test_the_first_of_two_tasks_is_kept(make):
  forgotten, _ = _after_both(optax.identity())
  kept, learned = _after_both(make())
  fresh = [float(0.5 * jnp.mean(y**2)) for _, y in _two_tasks()]
  assert forgotten > 0.5
  assert kept < 0.3 * forgotten
  assert learned < fresh[1]


# Noise, displaced params, no gradients.


@pytest.mark.parametrize(
  ('dtype', 'distribution', 'samples'),
  [('float32', 'rademacher', 1), ('bfloat16', 'normal', 3)],
)
def test_spsa_descends_a_quadratic(dtype, distribution, samples):
  scale = jnp.array([1.0, 2.0, 0.5])
  loss = lambda w: jnp.sum(scale * jnp.square(w - 1.0))
  tx = optax.chain(
    mechanisms.simultaneous_perturbation(
      distribution=distribution, samples=samples
    ),
    optax.scale_by_learning_rate(0.03),
  )
  start = jnp.array([3.0, -2.0, 4.0], dtype)
  end, _ = _train(tx, start, jnp.zeros_like, 400, value_fn=loss)
  assert loss(end.astype(jnp.float32)) < 0.01 * loss(start.astype(jnp.float32))


def test_spsa_ignores_what_comes_in():
  w = {'a': jnp.ones(3), 'b': jnp.ones(2)}
  loss = lambda w: jnp.sum(w['a'] ** 2) + jnp.sum(w['b'])
  tx = mechanisms.simultaneous_perturbation()
  each = [
    tx.update(updates, tx.init(w), w, value_fn=loss)[0]
    for updates in (w, jax.tree.map(jnp.zeros_like, w), None)
  ]
  for other in each[1:]:
    jax.tree.map(np.testing.assert_array_equal, each[0], other)


def test_spsa_in_low_precision_sees_small_perturbations():
  """In bfloat16 4 + 0.001 is 4: a loss would not differ."""
  w = jnp.full(5, 4.0, jnp.bfloat16)
  tx = mechanisms.simultaneous_perturbation()
  seen = []
  loss = lambda w: (seen.append(w.dtype), jnp.sum(w))[1]
  updates, _ = tx.update(w, tx.init(w), w, value_fn=loss)
  assert set(seen) == {jnp.dtype('float32')}
  assert updates.dtype == jnp.bfloat16
  assert (updates != 0).all()


# Sleep and synergy.


@pytest.mark.parametrize('weights', [None, {'a': 1.0, 'b': 3.0, 'c': 4.0}])
def test_partition_draws_owners_with_the_weights(weights):
  names = ('a', 'b', 'c')
  tx = mechanisms.synergy(
    {name: optax.identity() for name in names}, 'partition', weights
  )
  owner = tx.init(jnp.ones((100, 100))).owner
  for k, name in enumerate(names):
    share = 1 / 3 if weights is None else weights[name] / 8
    assert abs(float((owner == k).mean()) - share) < 0.02


def test_a_period_has_one_sleep_whatever_its_fraction_becomes():
  # Read at every update, it would pass over the moment of falling asleep.
  tx = mechanisms.sleep(10, lambda count: jnp.where(count < 8, 0.2, 0.3), 1.0)
  w = jnp.ones((2, 1))
  state, update = tx.init(w), jax.jit(tx.update)
  for _ in range(10):
    updates, state = update(jnp.full((2, 1), 0.5), state, w)
    w += updates
  np.testing.assert_allclose(w, 1.0, rtol=1e-6)
