"""Each mechanism does on a small known case what it is for."""

import functools

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


def _noisy_r_of_k(r, rate, seed, *, exponentiated):
  """The error after learning the mean of r of 100 coins, example by example."""
  k, steps, noise = 100, 200, 0.05
  truth = jnp.where(jnp.arange(k) < r, 1 / r, 0.0)
  last = mechanisms.exponentiate() if exponentiated else optax.identity()
  tx = optax.chain(optax.scale(-rate), last)

  def coins(key, n):
    x = jax.random.bernoulli(key, 0.5, (n, k)).astype(jnp.float32)
    drawn = jax.random.normal(jax.random.fold_in(key, 1), (n,))
    return x, x @ truth + noise * drawn

  def step(carry, key):
    w, state = carry
    x, y = coins(key, 1)
    gradient = (x @ w - y) @ x
    updates, state = tx.update(gradient, state, w)
    return (optax.apply_updates(w, updates), state), None

  w = jnp.full(k, 1 / k)
  keys = jax.random.split(jax.random.key(seed), steps)
  (w, _), _ = jax.lax.scan(step, (w, tx.init(w)), keys)
  x, y = coins(jax.random.key(1000), 2000)
  return jnp.mean((x @ w - y) ** 2), jnp.min(w)


# Each at the best of its learning rates, as a mean over seeds.
RATES = {True: [0.3, 0.7, 1.4], False: [0.005, 0.01, 0.02, 0.04]}


@pytest.mark.slow
@pytest.mark.parametrize(('r', 'ratio'), [(5, 0.5), (20, 0.9), (50, 1.01)])
def test_exponentiated_gradient_gains_where_inputs_are_irrelevant(r, ratio):
  best = {}
  for exponentiated, rates in RATES.items():
    one = functools.partial(_noisy_r_of_k, r, exponentiated=exponentiated)
    each = jax.vmap(jax.vmap(one, (None, 0)), (0, None))
    errors, least = jax.jit(each)(jnp.array(rates), jnp.arange(4))
    best[exponentiated] = float(errors.mean(1).min())
    if exponentiated:
      assert (least > 0).all()
  assert best[True] < ratio * best[False], best


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


# Clipping and norms.


def _regression(seed):
  rng = np.random.default_rng(seed)
  return jnp.asarray(rng.normal(size=(64, 10)), jnp.float32), jnp.asarray(
    rng.integers(0, 2, (64, 1)), jnp.float32
  )


def _mlp(seed=0):
  rng = np.random.default_rng(seed)
  draw = lambda n, m: jnp.asarray(
    rng.uniform(-1, 1, (n, m)) / n**0.5, jnp.float32
  )
  return {
    'first': {'kernel': draw(10, 32), 'bias': jnp.zeros(32)},
    'last': {'kernel': draw(32, 1), 'bias': jnp.zeros(1)},
  }


def _logits(params, x):
  hidden = jax.nn.relu(x @ params['first']['kernel'] + params['first']['bias'])
  return hidden @ params['last']['kernel'] + params['last']['bias']


def _cross_entropy(params, x, y):
  return jnp.mean(optax.sigmoid_binary_cross_entropy(_logits(params, x), y))


@functools.cache
def _norms_on_permuted_inputs(bounded):
  params = _mlp()
  bound = mechanisms.clip_weights(mechanisms.fan_in_bounds(1.5))
  tx = optax.chain(optax.sgd(1.0), bound) if bounded else optax.sgd(1.0)
  state = tx.init(params)
  x, y = _regression(0)
  rng = np.random.default_rng(0)

  @jax.jit
  def task(params, state, x):
    def step(_, carry):
      params, state = carry
      gradient = jax.grad(_cross_entropy)(params, x, y)
      updates, state = tx.update(gradient, state, params)
      return optax.apply_updates(params, updates), state

    return jax.lax.fori_loop(0, 200, step, (params, state))

  for _ in range(8):
    params, state = task(params, state, x[:, rng.permutation(10)])
  return float(optax.tree.norm(params)), params


@pytest.mark.slow
def test_weight_clipping_bounds_the_norm_on_permuted_inputs():
  free, _ = _norms_on_permuted_inputs(False)
  norm, params = _norms_on_permuted_inputs(True)
  bounds = mechanisms.fan_in_bounds(1.5)(params)
  jax.tree.map(
    lambda w, b: np.testing.assert_array_less(abs(w), b * (1 + 1e-6)),
    params,
    bounds,
  )
  assert norm < 1.5 * (10 * 32 / 10 + 32 / 32 + 32 / 10 + 1 / 32) ** 0.5
  assert free > 2 * norm


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


@pytest.mark.parametrize('dtype', ['float32', 'bfloat16'])
def test_eval_params_of_neural_variability_are_the_clean_trajectory(dtype):
  """On a quadratic the noise averages out, and θ is that of no noise."""
  matrix = jnp.array([1.0, 0.5, 0.25])
  gradient = lambda p: (matrix * p.astype(jnp.float32)).astype(dtype)
  inner = optax.sgd(0.05)
  start = jnp.ones(3, dtype) * 4
  keys = jax.random.split(jax.random.key(0), 500)

  def noisy(key):
    tx = mechanisms.neural_variability(inner, 0.1, key=key)
    p, state = _train(tx, start, gradient, 40)
    return mechanisms.eval_params(state, p), p

  clean, held = jax.vmap(noisy)(keys)
  expected = 4 * (1 - 0.05 * matrix) ** 40
  found = clean.astype(jnp.float32)
  # What noise did to the gradients remains, and is small.
  np.testing.assert_allclose(found.mean(0), expected, atol=0.02)
  assert (found.std(0) < 0.05).all()
  spread = (held.astype(jnp.float32) - found).std(0)
  np.testing.assert_allclose(spread, 0.1, rtol=0.15)


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


# Sleep, hares, replicas.


def test_jitter_keeps_the_mean_and_signs():
  first = jnp.ones((2000, 1))
  tx = mechanisms.sleep(1, 1.0, strength=0.0, jitter=0.3)
  w = 2 * first
  updates, _ = tx.update(w, tx.init(first), w)
  after = np.asarray(w + updates)
  assert (after > 0).all()
  np.testing.assert_allclose(after.mean(), 2.0, rtol=0.03)
  np.testing.assert_allclose(np.log(after / 2).std(), 0.3, rtol=0.1)


@pytest.mark.slow
def test_coupled_replicas_average_their_noise():
  tx = optax.chain(
    optax.sgd(0.1), mechanisms.couple_replicas(0.3, axis_name='replicas')
  )
  alone = optax.sgd(0.1)

  def run(tx, key):
    def step(w_state, key):
      w, state = w_state
      gradient = w + jax.random.normal(key, w.shape)
      updates, state = tx.update(gradient, state, w)
      return (optax.apply_updates(w, updates), state), w

    start = jnp.zeros(20), tx.init(jnp.zeros(20))
    return jax.lax.scan(step, start, jax.random.split(key, 300))[1][100:]

  keys = jax.random.split(jax.random.key(0), 8)
  coupled = jax.vmap(lambda k: run(tx, k), axis_name='replicas')(keys)
  free = jax.vmap(lambda k: run(alone, k))(keys)
  assert jnp.mean(coupled**2) < 0.5 * jnp.mean(free**2)


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
