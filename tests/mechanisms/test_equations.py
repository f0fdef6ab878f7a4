"""Every mechanism agrees in float64 with its equations, over many steps."""

from hypothesis import given
from hypothesis import strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from neuroplastic_optax import mechanisms
from neuroplastic_optax.mechanisms import _noise
from tests.mechanisms import reference

STEPS = 12
seeds = st.integers(0, 2**32 - 1)
shapes = st.lists(
  st.sampled_from([(), (1,), (5,), (3, 4), (1, 1), (2, 3, 4), (2, 2, 3, 2)]),
  min_size=1,
  max_size=3,
)


@pytest.fixture(autouse=True)
def _double():
  with jax.enable_x64(True):
    yield


def _draw(rng, shape):
  """Of both signs and several magnitudes, with a zero now and then."""
  x = rng.normal(size=shape) * 10 ** rng.uniform(-1.5, 0.5, size=shape)
  return np.where(rng.uniform(size=shape) < 0.05, 0.0, x)


def _compare(tx, references, seed, shape_list, extra=lambda t: {}, rate=0.1):
  """Trains by both, on params moved by the library's updates."""
  rng = np.random.default_rng(seed)
  params = [_draw(rng, shape) for shape in shape_list]
  state = tx.init([jnp.asarray(w) for w in params])
  oracles = [make(w) for make, w in zip(references, params, strict=True)]
  update = jax.jit(tx.update)
  for t in range(STEPS):
    gradients = [_draw(rng, shape) for shape in shape_list]
    told = extra(t)
    updates, state = update(
      [jnp.asarray(g) for g in gradients],
      state,
      [jnp.asarray(w) for w in params],
      **{k: jnp.asarray(v) for k, v in told.items()},
    )
    for oracle, g, w, u in zip(
      oracles, gradients, params, updates, strict=True
    ):
      expected = oracle.update(g, w, **told)
      np.testing.assert_allclose(u, expected, rtol=1e-9, atol=1e-12)
    params = [
      w + rate * np.asarray(u) + 0.1 * _draw(rng, w.shape)
      for w, u in zip(params, updates, strict=True)
    ]
  return state


def _same(make, shape_list, **settings):
  return [lambda w: make(w, **settings)] * len(shape_list)


positive = st.floats(0.01, 3.0)
unit = st.floats(0.0, 0.99)
boundaries = st.lists(st.booleans(), min_size=STEPS, max_size=STEPS)


@given(
  seeds, shapes, st.sampled_from([0.0, 0.01, 0.5]),
  st.sampled_from([0.5, 1.0, 1.3, 2.0]), positive, st.booleans(),
)  # fmt: skip
def test_classp(seed, shape_list, threshold, power, eps, scaling):
  settings = dict(threshold=threshold, power=power, eps=eps, scaling=scaling)
  tx = mechanisms.scale_by_classp(**settings)
  _compare(
    tx, _same(reference.Classp, shape_list, **settings), seed, shape_list
  )


@given(
  seeds, shapes, positive, st.sampled_from(['ewc', 'mas']), unit, unit
)  # fmt: skip
def test_consolidation(seed, shape_list, strength, importance, first, second):
  settings = dict(
    strength=strength,
    importance=importance,
    anchor_decay=first,
    importance_decay=second,
  )
  tx = mechanisms.add_consolidation(**settings)
  _compare(
    tx, _same(reference.Consolidation, shape_list, **settings), seed,
    shape_list,
  )  # fmt: skip


@given(seeds, shapes, positive, st.floats(0, 1), st.floats(0, 1), boundaries)
def test_elastic(seed, shape_list, strength, decay, forgetting, told):
  settings = dict(strength=strength, decay=decay, forgetting=forgetting)
  tx = mechanisms.elastic_weight_consolidation(**settings)
  _compare(
    tx, _same(reference.Elastic, shape_list, **settings), seed, shape_list,
    lambda t: {'new_task': told[t]},
  )  # fmt: skip


@given(seeds, shapes, positive, positive, boundaries)
def test_intelligence(seed, shape_list, strength, damping, told):
  settings = dict(strength=strength, damping=damping)
  tx = mechanisms.synaptic_intelligence(**settings)
  _compare(
    tx, _same(reference.Intelligence, shape_list, **settings), seed,
    shape_list, lambda t: {'new_task': told[t]}, rate=-0.1,
  )  # fmt: skip


@given(seeds, shapes, positive, st.sampled_from(['l2', 'l1']))
def test_regenerate(seed, shape_list, strength, norm):
  settings = dict(strength=strength, norm=norm)
  tx = mechanisms.regenerate(**settings)
  _compare(
    tx, _same(reference.Regenerate, shape_list, **settings), seed, shape_list
  )


@given(seeds, shapes, positive)
def test_metaplasticity(seed, shape_list, strength):
  tx = mechanisms.metaplasticity(strength)
  make = _same(reference.Metaplasticity, shape_list, strength=strength)
  _compare(tx, make, seed, shape_list)


@given(seeds, shapes, positive)
def test_exponentiate(seed, shape_list, c):
  tx = mechanisms.exponentiate(max_exponent=c)
  make = _same(reference.Exponentiate, shape_list, max_exponent=c)
  _compare(tx, make, seed, shape_list)


@given(seeds, shapes)
def test_keep_signs(seed, shape_list):
  make = _same(reference.KeepSigns, shape_list)
  _compare(mechanisms.keep_signs(), make, seed, shape_list)


@given(seeds, shapes, positive)
def test_clip(seed, shape_list, bound):
  make = _same(reference.Clip, shape_list, bound=bound)
  _compare(mechanisms.clip_weights(bound), make, seed, shape_list)


@given(seeds, shapes, unit, st.integers(1, 5))
def test_tortoise(seed, shape_list, decay, period):
  settings = dict(decay=decay, period=period)
  make = _same(reference.Tortoise, shape_list, **settings)
  tx = mechanisms.hare_and_tortoise(**settings)
  state = _compare(tx, make, seed, shape_list)
  slow = mechanisms.eval_params(state, state.slow)
  jax.tree.map(np.testing.assert_array_equal, slow, state.slow)


@given(seeds, shapes)
def test_project(seed, shape_list):
  make = _same(reference.Project, shape_list)
  _compare(mechanisms.normalize_and_project(), make, seed, shape_list)


def _noises(state, params, count):
  """What the library draws at an update, for each leaf."""
  pairs = _noise.words(
    state.key, jnp.asarray(count, jnp.int32), [None] * len(params)
  )
  return [
    np.asarray(_noise.normal(pair, jnp.asarray(w)), np.float64)
    for pair, w in zip(pairs, params, strict=True)
  ]


@given(
  seeds, shapes, st.floats(0, 1), st.floats(0, 1), st.integers(1, 3)
)  # fmt: skip
def test_shrink_and_perturb(seed, shape_list, shrink, perturb, every):
  settings = dict(shrink=shrink, perturb=perturb, every=every)
  tx = mechanisms.shrink_and_perturb(**settings, key=seed)
  _compare_noisy(tx, reference.ShrinkAndPerturb, settings, seed, shape_list)


@given(
  seeds, shapes, st.integers(1, 6), st.floats(0, 1), st.floats(0, 1),
  st.sampled_from([0.0, 0.3]),
)  # fmt: skip
def test_sleep(seed, shape_list, period, fraction, strength, jitter):
  settings = dict(
    period=period, fraction=fraction, strength=strength, jitter=jitter
  )
  tx = mechanisms.sleep(**settings, key=seed)
  _compare_noisy(tx, reference.Sleep, settings, seed, shape_list)


def _compare_noisy(tx, make, settings, seed, shape_list):
  rng = np.random.default_rng(seed)
  params = [_draw(rng, shape) for shape in shape_list]
  state = tx.init([jnp.asarray(w) for w in params])
  oracles = [make(w, **settings) for w in params]
  update = jax.jit(tx.update)
  for _ in range(STEPS):
    gradients = [_draw(rng, shape) for shape in shape_list]
    draws = _noises(state, params, state.count)
    updates, state = update(
      [jnp.asarray(g) for g in gradients],
      state,
      [jnp.asarray(w) for w in params],
    )
    rows = zip(oracles, gradients, params, draws, updates, strict=True)
    for oracle, g, w, draw, u in rows:
      expected = oracle.update(g, w, draw)
      # Noise is of float32, and rounds by how it is compiled.
      np.testing.assert_allclose(u, expected, rtol=2e-6, atol=2e-6)
    params = [np.asarray(w + u) for w, u in zip(params, updates, strict=True)]


@given(
  seeds, shapes, unit, st.sampled_from(['global', 'local']), st.booleans(),
  st.booleans(),
)  # fmt: skip
def test_upgd(seed, shape_list, decay, scaling, protect, bias_correction):
  settings = dict(
    decay=decay,
    noise=0.1,
    scaling=scaling,
    protect=protect,
    bias_correction=bias_correction,
  )
  tx = mechanisms.scale_by_upgd(**settings, key=seed)
  rng = np.random.default_rng(seed)
  params = [_draw(rng, shape) for shape in shape_list]
  state = tx.init([jnp.asarray(w) for w in params])
  oracle = reference.Upgd(params, **settings)
  update = jax.jit(tx.update)
  for _ in range(STEPS):
    gradients = [_draw(rng, shape) for shape in shape_list]
    draws = _noises(state, params, state.count)
    updates, state = update(
      [jnp.asarray(g) for g in gradients],
      state,
      [jnp.asarray(w) for w in params],
    )
    expected = oracle.update(gradients, params, draws)
    for u, e in zip(updates, expected, strict=True):
      np.testing.assert_allclose(u, e, rtol=2e-6, atol=2e-6)
    params = [
      np.asarray(w - 0.1 * u) for w, u in zip(params, updates, strict=True)
    ]


@given(seeds, st.floats(0, 1), st.sampled_from(['input', 'output', 'element']))
def test_flip_signs(seed, fraction, axis):
  shape = (2, 5, 4)
  tx = mechanisms.flip_signs(fraction, axis, key=seed, stacked_axes=1)
  params = {'kernel': jnp.ones(shape), 'bias': jnp.ones((2, 4))}
  state = tx.init(params)
  updates, _ = tx.update(params, state)
  np.testing.assert_array_equal(updates['bias'], params['bias'])
  d = np.asarray(updates['kernel'])
  assert set(np.unique(d)) <= {-1.0, 1.0}
  for layer in d:
    if axis == 'input':
      assert (layer == layer[:, :1]).all()
      places = layer[:, 0]
    elif axis == 'output':
      assert (layer == layer[:1]).all()
      places = layer[0]
    else:
      places = layer.ravel()
    assert (places < 0).sum() == round(fraction * places.size)
  again, _ = tx.update(params, state)
  np.testing.assert_array_equal(again['kernel'], d)


@given(
  seeds, positive, st.sampled_from(['rademacher', 'normal']), st.integers(1, 3)
)  # fmt: skip
def test_simultaneous_perturbation(seed, epsilon, distribution, samples):
  tx = mechanisms.simultaneous_perturbation(
    epsilon, distribution, samples, key=seed
  )
  rng = np.random.default_rng(seed)
  params = [_draw(rng, (3, 2)), _draw(rng, (4,))]
  seen = []

  def loss(params):
    jax.debug.callback(lambda *x: seen.append(x), *params, ordered=True)
    return sum(jnp.sum(jnp.cos(w) * (1 + i)) for i, w in enumerate(params))

  value = lambda ws: sum(np.sum(np.cos(w) * (1 + i)) for i, w in enumerate(ws))
  wide = [jnp.asarray(w) for w in params]
  state = tx.init(wide)
  updates, _ = tx.update(wide, state, wide, value_fn=loss)
  jax.effects_barrier()
  seen = [[np.asarray(x) for x in row] for row in seen]
  assert len(seen) == 2 * samples
  expected = [np.zeros_like(w) for w in params]
  for plus, minus in zip(seen[::2], seen[1::2], strict=True):
    slope = (value(plus) - value(minus)) / (2 * epsilon)
    for i, w in enumerate(params):
      np.testing.assert_allclose(plus[i] + minus[i], 2 * w, atol=1e-12)
      z = (plus[i] - minus[i]) / (2 * epsilon)
      expected[i] += slope * z / samples
  for u, e in zip(updates, expected, strict=True):
    np.testing.assert_allclose(u, e, rtol=1e-7, atol=1e-9)


@given(seeds, st.floats(0.0, 1.0), st.integers(2, 4))
def test_couple_replicas(seed, strength, count):
  rng = np.random.default_rng(seed)
  w, g = _draw(rng, (count, 3)), _draw(rng, (count, 3))
  tx = mechanisms.couple_replicas(strength, axis_name='r')
  step = lambda g, w: tx.update(g, tx.init(w), w)[0]
  u = jax.vmap(step, axis_name='r')(jnp.asarray(g), jnp.asarray(w))
  expected = g - strength * (w - w.mean(0))
  np.testing.assert_allclose(u, expected, rtol=1e-9, atol=1e-12)


@given(seeds, st.sampled_from(['normal', 'laplace', 'uniform']),
       st.integers(1, 3))  # fmt: skip
def test_neural_variability(seed, distribution, refresh):
  tx = mechanisms.neural_variability(
    optax.sgd(0.1, momentum=0.9), 0.3, distribution, refresh, key=seed
  )
  rng = np.random.default_rng(seed)
  p = [_draw(rng, (3, 2))]
  theta, momentum = p[0].copy(), np.zeros((3, 2))
  state = tx.init([jnp.asarray(x) for x in p])
  np.testing.assert_array_equal(state.noise[0], 0)
  before = np.zeros((3, 2))
  for t in range(1, STEPS):
    g = _draw(rng, (3, 2))
    momentum = 0.9 * momentum + g
    theta = theta - 0.1 * momentum
    updates, state = tx.update([jnp.asarray(g)], state, [jnp.asarray(p[0])])
    p = [np.asarray(p[0] + updates[0])]
    noise = np.asarray(state.noise[0])
    assert ((noise == before).all()) == ((t - 1) % refresh != 0)
    before = noise
    np.testing.assert_allclose(p[0], theta + noise, rtol=1e-9, atol=1e-12)
    clean = mechanisms.eval_params(state, [jnp.asarray(p[0])])
    np.testing.assert_allclose(clean[0], theta, rtol=1e-9, atol=1e-12)


def _rms(x):
  return np.sqrt(np.mean(x**2))


@given(seeds, st.sampled_from(['blend', 'partition', 'adaptive']))
def test_synergy(seed, assignment):
  tx = mechanisms.synergy(
    {'b': optax.trace(0.9), 'a': optax.scale_by_rms()},
    assignment,
    weights={'a': 1.0, 'b': 3.0},
    rate=0.7,
    floor=0.1,
    key=seed,
    stacked_axes=1,
  )
  rng = np.random.default_rng(seed)
  w = jnp.asarray(_draw(rng, (2, 3, 4)))
  state = tx.init(w)
  alone = {'b': optax.trace(0.9), 'a': optax.scale_by_rms()}
  states = {name: each.init(w) for name, each in alone.items()}
  shares = {'b': 0.75, 'a': 0.25}
  log = {name: np.zeros(2) for name in alone}
  last = dict.fromkeys(alone)
  for _ in range(4):
    g = _draw(rng, (2, 3, 4))
    updates, state = tx.update(jnp.asarray(g), state, w)
    raw = {}
    for name, each in alone.items():
      u, states[name] = each.update(jnp.asarray(g), states[name], w)
      raw[name] = np.asarray(u)
    for layer in range(2):
      sizes = {name: _rms(u[layer]) for name, u in raw.items()}
      mean = np.mean(list(sizes.values()))
      hat = {n: u[layer] * mean / sizes[n] for n, u in raw.items()}
      if assignment == 'blend':
        expected = sum(shares[n] * hat[n] for n in hat)
      elif assignment == 'partition':
        owner = np.asarray(state.owner)[layer]
        expected = np.where(owner == 0, hat['b'], hat['a'])
      else:
        for n in hat:
          if last[n] is not None:
            x, y = g[layer], last[n][layer]
            cosine = (x * y).sum() / np.linalg.norm(x) / np.linalg.norm(y)
            log[n][layer] += 0.7 * cosine
        weight = {n: shares[n] * np.exp(log[n][layer]) for n in hat}
        total = sum(weight.values())
        expected = sum(
          (0.1 + (1 - 2 * 0.1) * weight[n] / total) * hat[n] for n in hat
        )
      np.testing.assert_allclose(updates[layer], expected, rtol=1e-6)
    hats = {n: np.stack([
      u[i] * np.mean([_rms(v[i]) for v in raw.values()]) / _rms(u[i])
      for i in range(2)]) for n, u in raw.items()}  # fmt: skip
    last = hats
