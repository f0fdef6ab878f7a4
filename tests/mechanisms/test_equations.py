"""Every mechanism agrees in float64 with its equations, over many steps.

The library gets its numbers as arrays where it can, so that one compiled
program serves all examples of a test. Static arguments are its parameters.
"""

import itertools

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
SHAPES = [(), (1,), (5,), (3, 4), (1, 1), (2, 3, 4), (2, 2, 3, 2)]
seeds = st.integers(0, 2**32 - 1)
positive = st.floats(0.01, 3.0)
unit = st.floats(0.0, 0.99)
fraction = st.floats(0.0, 1.0)
boundaries = st.lists(st.booleans(), min_size=STEPS, max_size=STEPS)


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


class _Program:
  """A mechanism, compiled once for all values of its numbers.

  Attributes:
    make: the mechanism, a function of numbers as arrays.
  """

  def __init__(self, make):
    self.make = make
    self.init = jax.jit(lambda numbers, w: make(**numbers).init(w))
    self.update = jax.jit(
      lambda numbers, g, state, w, extra: make(**numbers).update(
        g, state, w, **extra
      )
    )

  def compare(self, oracles, seed, numbers, extra=lambda t: {}, noisy=False):
    """Trains by both, on params moved by the library's updates.

    Args:
      oracles: makes the restatement of all leaves from their params.
      seed: of the params and gradients.
      numbers: the numbers of both.
      extra: the extra arguments at an update, from 0.
      noisy: whether the restatement gets what the library draws.

    Returns:
      The last state.
    """
    rng = np.random.default_rng(seed)
    arrays = {name: jnp.asarray(x) for name, x in numbers.items()}
    params = _draws(rng)
    oracle = oracles(params, numbers)
    state = self.init(arrays, params)
    # Noise is of float32, and rounds by how it is compiled.
    close = dict(rtol=2e-6, atol=2e-6) if noisy else dict(rtol=1e-9, atol=1e-12)
    for t in range(STEPS):
      gradients = _draws(rng)
      told = extra(t)
      noise = (_noises(state, params),) if noisy else ()
      updates, state = self.update(arrays, gradients, state, params, told)
      expected = oracle(gradients, params, *noise, **told)
      for u, e in zip(updates, expected, strict=True):
        np.testing.assert_allclose(u, e, **close)
      params = [
        w - 0.1 * np.asarray(u) + 0.1 * _draw(rng, w.shape)
        for w, u in zip(params, updates, strict=True)
      ]
    return state


def _noises(state, params):
  """The numbers that the library draws at an update, for each leaf."""
  words = _noise.words(state.key, state.count, len(params))
  return [
    np.asarray(_noise.normal(pair, jnp.asarray(w)), np.float64)
    for pair, w in zip(words, params, strict=True)
  ]


def _leafwise(make, **static):
  """The restatement of all leaves, from that of one."""

  def oracles(params, numbers):
    each = [make(w, **numbers, **static) for w in params]

    def update(*rows, **told):
      return [
        one.update(*row, **told) for one, *row in zip(each, *rows, strict=True)
      ]

    return update

  return oracles


def _cases(make, oracle, **choices):
  """By its name, a program and restatement for each choice of static ones."""
  cases = {}
  for values in itertools.product(*choices.values()):
    static = dict(zip(choices, values, strict=True))
    program = _Program(
      lambda static=static, **numbers: make(**numbers, **static)
    )
    name = '-'.join(map(str, values))
    cases[name] = pytest.param(program, _leafwise(oracle, **static), id=name)
  return pytest.mark.parametrize(('program', 'oracles'), cases.values())


m = mechanisms


@_cases(
  m.scale_by_classp, reference.Classp,
  power=[0.5, 1.0, 1.3, 2.0], scaling=[True, False],
)  # fmt: skip
@given(seeds, st.sampled_from([0.0, 0.01, 0.5]), positive)
def test_classp(program, oracles, seed, threshold, eps):
  program.compare(oracles, seed, dict(threshold=threshold, eps=eps))


@_cases(m.add_consolidation, reference.Consolidation, importance=['ewc', 'mas'])
@given(seeds, positive, unit, unit)
def test_consolidation(program, oracles, seed, strength, first, second):
  numbers = dict(strength=strength, anchor_decay=first, importance_decay=second)
  program.compare(oracles, seed, numbers)


def test_consolidation_with_static_decays():
  """Whose logarithm is Python's."""
  decays = dict(anchor_decay=0.999, importance_decay=0.0)
  program = _Program(lambda strength: m.add_consolidation(strength, **decays))
  oracles = _leafwise(reference.Consolidation, importance='ewc', **decays)
  program.compare(oracles, 0, dict(strength=2.0))


@_cases(m.elastic_weight_consolidation, reference.Elastic)
@given(seeds, positive, fraction, fraction, boundaries)
def test_elastic(program, oracles, seed, strength, decay, forgetting, told):
  numbers = dict(strength=strength, decay=decay, forgetting=forgetting)
  program.compare(oracles, seed, numbers, lambda t: {'new_task': told[t]})


@_cases(m.synaptic_intelligence, reference.Intelligence)
@given(seeds, positive, positive, boundaries)
def test_intelligence(program, oracles, seed, strength, damping, told):
  numbers = dict(strength=strength, damping=damping)
  program.compare(oracles, seed, numbers, lambda t: {'new_task': told[t]})


@_cases(m.regenerate, reference.Regenerate, norm=['l2', 'l1'])
@given(seeds, positive)
def test_regenerate(program, oracles, seed, strength):
  program.compare(oracles, seed, dict(strength=strength))


@_cases(m.metaplasticity, reference.Metaplasticity)
@given(seeds, positive)
def test_metaplasticity(program, oracles, seed, strength):
  program.compare(oracles, seed, dict(strength=strength))


@_cases(m.exponentiate, reference.Exponentiate)
@given(seeds, positive)
def test_exponentiate(program, oracles, seed, c):
  program.compare(oracles, seed, dict(max_exponent=c))


@_cases(m.keep_signs, reference.KeepSigns)
@given(seeds)
def test_keep_signs(program, oracles, seed):
  program.compare(oracles, seed, {})


@_cases(m.clip_weights, reference.Clip)
@given(seeds, positive)
def test_clip(program, oracles, seed, bound):
  program.compare(oracles, seed, dict(bound=bound))


@_cases(m.hare_and_tortoise, reference.Tortoise)
@given(seeds, unit, st.integers(1, 5))
def test_tortoise(program, oracles, seed, decay, period):
  numbers = dict(decay=decay, period=period)
  state = program.compare(oracles, seed, numbers)
  slow = m.eval_params(state, state.slow)
  jax.tree.map(np.testing.assert_array_equal, slow, state.slow)


@_cases(m.normalize_and_project, reference.Project)
@given(seeds)
def test_project(program, oracles, seed):
  program.compare(oracles, seed, {})


@_cases(m.shrink_and_perturb, reference.ShrinkAndPerturb)
@given(seeds, fraction, fraction, st.integers(1, 3))
def test_shrink_and_perturb(program, oracles, seed, shrink, perturb, every):
  numbers = dict(shrink=shrink, perturb=perturb, every=every)
  program.compare(oracles, seed, numbers, noisy=True)


@_cases(m.sleep, reference.Sleep, jitter=[0.0, 0.3])
@given(seeds, st.integers(1, 6), fraction, fraction)
def test_sleep(program, oracles, seed, period, part, strength):
  numbers = dict(period=period, fraction=part, strength=strength)
  program.compare(oracles, seed, numbers, noisy=True)


def test_sleep_with_static_numbers():
  """Whose length is Python's `round`, to even where it is half way."""
  for period, part in ((5, 0.5), (3, 0.5), (1, 0.5), (2, 0.3)):
    static = dict(period=period, fraction=part)
    program = _Program(lambda static=static, **numbers: m.sleep(
      **numbers, **static))  # fmt: skip
    oracles = _leafwise(reference.Sleep, jitter=0.0, **static)
    program.compare(oracles, 0, dict(strength=0.5), noisy=True)


_FLAGS = ('scaling', 'protect', 'bias_correction')
_UPGD = {
  static: _Program(
    lambda static=static, **numbers: m.scale_by_upgd(
      **numbers, **dict(zip(_FLAGS, static, strict=True))
    )
  )
  for static in [
    ('global', True, True),
    ('global', True, False),
    ('global', False, True),
    ('local', True, True),
    ('local', False, False),
  ]
}


@pytest.mark.parametrize('static', _UPGD)
@given(seeds, unit)
def test_upgd(static, seed, decay):
  def oracles(params, numbers):
    flags = dict(zip(_FLAGS, static, strict=True))
    return reference.Upgd(params, **numbers, **flags).update

  numbers = dict(decay=decay, noise=0.1)
  _UPGD[static].compare(oracles, seed, numbers, noisy=True)


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


def test_couple_replicas():
  rng = np.random.default_rng(0)
  step = lambda g, w, k: m.couple_replicas(k, axis_name='r').update(
    g, m.CoupleReplicasState(jnp.int32(0)), w
  )[0]
  for strength in (0.0, 0.3, 1.0):
    w, g = _draw(rng, (3, 5)), _draw(rng, (3, 5))
    u = jax.vmap(step, (0, 0, None), axis_name='r')(g, w, strength)
    expected = g - strength * (w - w.mean(0))
    np.testing.assert_allclose(u, expected, rtol=1e-9, atol=1e-12)


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
