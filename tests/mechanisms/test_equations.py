"""Every mechanism agrees in float64 with its equations, over many steps.

The library gets its numbers as arrays where it can, so that one compiled
program serves all examples of a case.
"""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from neuroplastic_optax import mechanisms as m
from neuroplastic_optax import units
from neuroplastic_optax.mechanisms import _noise
from tests.mechanisms import reference

STEPS, EXAMPLES = 12, 8
SHAPES = [(), (1,), (5,), (3, 4), (1, 1), (2, 3, 4), (2, 2, 3, 2)]


@pytest.fixture(autouse=True)
def _double():
  with jax.enable_x64(True):
    yield


def _draw(rng, shape):
  """Of both signs and several magnitudes, with a zero now and then."""
  x = rng.normal(size=shape) * 10 ** rng.uniform(-1.5, 0.5, size=shape)
  return np.where(rng.uniform(size=shape) < 0.05, 0.0, x)


def _draws(rng):
  return [_draw(rng, shape) for shape in SHAPES]


def _noises(state, params):
  """The numbers that the library draws at an update, for each leaf."""
  words = _noise.words(state.key, state.count, len(params))
  return [
    np.asarray(_noise.normal(pair, jnp.asarray(w)), np.float64)
    for pair, w in zip(words, params, strict=True)
  ]


# Numbers, drawn anew for each example; their ends among them.
def _positive(rng):
  return rng.uniform(0.01, 3.0)


def _decay(rng):
  return rng.choice([0.0, rng.uniform(0.0, 0.99)])


def _fraction(rng):
  return rng.choice([0.0, 1.0, rng.uniform(), rng.uniform()])


def _integer(rng):
  return rng.integers(1, 6)


def _case(make, oracle, static=None, *, over_all=False, **numbers):
  """Cases of `CASES`, one for each choice of static arguments.

  Args:
    make: the mechanism.
    oracle: its restatement.
    static: by the name of a static argument, its values.
    over_all: whether the restatement is of all leaves, not of one.
    **numbers: how to draw an example of each number.

  Returns:
    Parameters of the test.
  """
  choices = static or {}
  return [
    pytest.param(
      *(make, oracle, dict(zip(choices, values, strict=True))),
      *(over_all, numbers),
      id='-'.join(map(str, (make.__name__, *values))),
    )
    for values in itertools.product(*choices.values())
  ]


def regenerate_inactive(**settings):
  return m.regenerate_inactive(optax.sgd(0.1, momentum=0.5), **settings)


CASES = [
  *_case(
    *(regenerate_inactive, reference.RegenerateInactive),
    dict(
      utility=['activity', 'contribution', 'magnitude'],
      to=['initial', 'fresh'],
    ),
    rate=_fraction,
    threshold=_positive,
    decay=_decay,
    every=_integer,
  ),
  *_case(
    *(m.scale_by_classp, reference.Classp),
    dict(power=[0.5, 1.0, 1.3, 2.0]),
    threshold=lambda rng: rng.choice([0.0, 0.01, 0.5]),
    eps=_positive,
    scaling=lambda rng: rng.random() < 0.7,
  ),
  *_case(
    *(m.add_consolidation, reference.Consolidation),
    dict(importance=['ewc', 'mas']),
    strength=_positive,
    anchor_decay=_decay,
    importance_decay=_decay,
  ),
  # The logarithm of a decay that is known is Python's.
  *_case(
    *(m.add_consolidation, reference.Consolidation),
    dict(importance=['ewc'], anchor_decay=[0.999], importance_decay=[0.0]),
    strength=_positive,
  ),
  *_case(
    *(m.elastic_weight_consolidation, reference.Elastic),
    strength=_positive,
    decay=_fraction,
    forgetting=_fraction,
  ),
  *_case(
    *(m.synaptic_intelligence, reference.Intelligence),
    strength=_positive,
    damping=_positive,
  ),
  *_case(
    *(m.regenerate, reference.Regenerate),
    dict(norm=['l2', 'l1', 'wasserstein']),
    strength=_positive,
  ),
  *_case(m.metaplasticity, reference.Metaplasticity, strength=_positive),
  *_case(m.exponentiate, reference.Exponentiate, max_exponent=_positive),
  *_case(m.keep_signs, reference.KeepSigns),
  *_case(m.clip_weights, reference.Clip, bound=_positive),
  *_case(
    *(m.hare_and_tortoise, reference.Tortoise), decay=_decay, period=_integer
  ),
  *_case(m.normalize_and_project, reference.Project),
  *_case(
    *(m.shrink_and_perturb, reference.ShrinkAndPerturb),
    dict(noise=['normal', 'init']),
    shrink=_fraction,
    perturb=_fraction,
    every=_integer,
  ),
  *_case(
    *(m.sleep, reference.Sleep),
    dict(jitter=[0.0, 0.3]),
    period=_integer,
    fraction=_fraction,
    strength=_fraction,
  ),
  # The length of a sleep that is known is Python's `round`.
  *_case(
    *(m.sleep, reference.Sleep),
    dict(period=[3, 5], fraction=[0.5], jitter=[0.0]),
    strength=_fraction,
  ),
  *_case(
    *(m.scale_by_upgd, reference.Upgd),
    dict(protect=[True, False], bias_correction=[True, False]),
    over_all=True,
    decay=_decay,
    noise=_fraction,
    scale=_positive,
  ),
  *_case(
    *(m.scale_by_upgd, reference.Upgd),
    dict(scaling=['local'], noise=[0.0, 0.1], protect=[True]),
    over_all=True,
    decay=_decay,
  ),
]


@pytest.mark.parametrize(
  ('make', 'oracle', 'static', 'over_all', 'numbers'), CASES
)
def test_an_update_is_its_equation(make, oracle, static, over_all, numbers):
  """On params moved by the library's updates."""
  tx = functools.partial(make, **static)
  boundaries = make in (m.elastic_weight_consolidation, m.synaptic_intelligence)
  init = jax.jit(lambda numbers, w: tx(**numbers).init(w))
  update = jax.jit(
    lambda numbers, g, state, w, extra: tx(**numbers).update(
      g, state, w, **extra
    )
  )
  for seed in range(EXAMPLES):
    rng = np.random.default_rng(seed)
    values = {name: draw(rng) for name, draw in numbers.items()}
    arrays = {name: jnp.asarray(x) for name, x in values.items()}
    params = _draws(rng)
    state = init(arrays, params)
    noisy = hasattr(state, 'key')
    # Noise is of float32, and rounds by how it is compiled.
    close = dict(rtol=2e-6, atol=2e-6) if noisy else dict(rtol=1e-9, atol=1e-12)
    one = functools.partial(oracle, **static, **values)
    oracles = [one(params)] if over_all else [one(w) for w in params]
    for _ in range(STEPS):
      gradients = _draws(rng)
      extra = {'new_task': rng.uniform() < 0.4} if boundaries else {}
      rows = [gradients, params, *([_noises(state, params)] if noisy else [])]
      updates, state = update(arrays, gradients, state, params, extra)
      if over_all:
        expected = oracles[0].update(*rows)
      else:
        expected = [
          each.update(*row, **extra)
          for each, *row in zip(oracles, *rows, strict=True)
        ]
      for u, e in zip(updates, expected, strict=True):
        np.testing.assert_allclose(u, e, **close)
      params = [
        w - 0.1 * np.asarray(u) + 0.1 * _draw(rng, w.shape)
        for w, u in zip(params, updates, strict=True)
      ]


@pytest.mark.parametrize('axis', ['input', 'output', 'element'])
def test_flip_signs(axis):
  shape = (2, 5, 4)
  params = {'kernel': jnp.ones(shape), 'bias': jnp.ones((2, 4))}
  for seed, part in enumerate((0.0, 0.1, 0.25, 0.3, 0.5, 0.99, 1.0)):
    tx = m.flip_signs(part, axis, key=seed, stacked_axes=1)
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
      assert (places < 0).sum() == round(part * places.size)
    again, _ = tx.update(params, state)
    np.testing.assert_array_equal(again['kernel'], d)


@pytest.mark.parametrize('distribution', ['rademacher', 'normal'])
@pytest.mark.parametrize('samples', [1, 3])
def test_simultaneous_perturbation(distribution, samples):
  epsilon = 0.3
  tx = m.simultaneous_perturbation(epsilon, distribution, samples, key=5)
  rng = np.random.default_rng(0)
  params = [_draw(rng, (3, 2)), _draw(rng, (4,))]
  seen = []

  def loss(params):
    jax.debug.callback(lambda *x: seen.append(x), *params, ordered=True)
    return sum(jnp.sum(jnp.cos(w) * (1 + i)) for i, w in enumerate(params))

  value = lambda ws: sum(np.sum(np.cos(w) * (1 + i)) for i, w in enumerate(ws))
  wide = [jnp.asarray(w) for w in params]
  updates, _ = tx.update(wide, tx.init(wide), wide, value_fn=loss)
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


@pytest.mark.parametrize('distribution', ['normal', 'laplace', 'uniform'])
def test_neural_variability(distribution):
  def make(refresh, key):
    inner = optax.sgd(0.1, momentum=0.9)
    return m.neural_variability(inner, 0.3, distribution, refresh, key=key)

  update = jax.jit(
    lambda g, state, p, refresh: make(refresh, 0).update(g, state, p)
  )
  rng = np.random.default_rng(0)
  for refresh in (1, 2, 3):
    p = _draw(rng, (3, 2))
    theta, momentum = p.copy(), np.zeros((3, 2))
    state = make(refresh, refresh).init(jnp.asarray(p))
    np.testing.assert_array_equal(state.noise, 0)
    before = np.zeros((3, 2))
    for t in range(1, STEPS):
      g = _draw(rng, (3, 2))
      momentum = 0.9 * momentum + g
      theta = theta - 0.1 * momentum
      updates, state = update(g, state, p, refresh)
      p = np.asarray(p + updates)
      noise = np.asarray(state.noise)
      assert ((noise == before).all()) == ((t - 1) % refresh != 0)
      before = noise
      np.testing.assert_allclose(p, theta + noise, rtol=1e-9, atol=1e-12)
      clean = m.eval_params(state, jnp.asarray(p))
      np.testing.assert_allclose(clean, theta, rtol=1e-9, atol=1e-12)


def _rms(x):
  return np.sqrt(np.mean(x**2))


@pytest.mark.parametrize('assignment', ['blend', 'partition', 'adaptive'])
def test_synergy(assignment):
  alone = {'b': optax.trace(0.9), 'a': optax.scale_by_rms()}
  tx = m.synergy(
    alone,
    assignment,
    weights={'a': 1.0, 'b': 3.0},
    rate=0.7,
    floor=0.1,
    stacked_axes=1,
  )
  update = jax.jit(tx.update)
  rng = np.random.default_rng(0)
  w = jnp.asarray(_draw(rng, (2, 3, 4)))
  state = tx.init(w)
  states = {name: each.init(w) for name, each in alone.items()}
  shares = {'b': 0.75, 'a': 0.25}
  log = {name: np.zeros(2) for name in alone}
  last = [None, None]
  for _ in range(4):
    g = _draw(rng, (2, 3, 4))
    updates, state = update(jnp.asarray(g), state, w)
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
          if last[layer] is not None:
            x, y = g[layer], last[layer][n]
            cosine = (x * y).sum() / np.linalg.norm(x) / np.linalg.norm(y)
            log[n][layer] += 0.7 * cosine
        weight = {n: shares[n] * np.exp(log[n][layer]) for n in hat}
        total = sum(weight.values())
        expected = sum(
          (0.1 + (1 - 2 * 0.1) * weight[n] / total) * hat[n] for n in hat
        )
      np.testing.assert_allclose(updates[layer], expected, rtol=1e-6)
      last[layer] = hat
      for n, x in hat.items() if assignment == 'adaptive' else ():
        np.testing.assert_allclose(state.previous[n][layer], x, rtol=1e-6)


@pytest.mark.parametrize('scaling', ['global', 'local'])
def test_upgd_of_units(scaling):
  rng = np.random.default_rng(0)
  settings = dict(decay=0.9, noise=0.1, scaling=scaling, scale=2.0)
  layer = units.Layer('h', 'in', 'out', {'bias': 0.0})
  tx = m.scale_by_upgd(units=[layer], **settings)
  shapes = {'bias': (4,), 'in': (3, 4), 'out': (4, 2), 'rest': (2,)}
  draw = lambda: {name: _draw(rng, shape) for name, shape in shapes.items()}
  params = draw()
  expected = reference.UpgdUnits(4, **settings)
  state, update = tx.init(params), jax.jit(tx.update)
  for _ in range(STEPS):
    g = draw()
    # In the order of the leaves.
    draws = dict(
      zip(params, _noises(state, list(params.values())), strict=True)
    )
    u, state = update(g, state, params)
    for name, leaf in expected.update(g, params, draws).items():
      # The state is float32.
      np.testing.assert_allclose(u[name], leaf, rtol=1e-5, atol=1e-6)
    for name in ('out', 'rest'):
      np.testing.assert_array_equal(u[name], g[name])
    params = jax.tree.map(lambda w, u: np.asarray(w - 0.1 * u), params, u)
