"""The library against the equations, restated in NumPy by `reference`."""

import dataclasses

import hypothesis
from hypothesis import strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from neuroplastic_optax import Homeostasis
from neuroplastic_optax import neuroplastic
from tests import reference

UPDATES = 30
EXAMPLES = hypothesis.settings().max_examples
RATE = 0.1

# How far from float64 the library may be, relative to a leaf's largest
# element. Adam's bias correction 1 - β₂ᵗ cancels in float32.
TOLERANCE = {
  'float32': 1e-4, 'float64': 1e-9, 'complex64': 1e-4, 'complex128': 1e-9,
}  # fmt: skip
TOLERANCE_OVER_ADAM = TOLERANCE | {'float32': 2e-3, 'complex64': 2e-3}

SHAPES = st.lists(
  st.lists(st.integers(1, 5), max_size=3).map(tuple), min_size=1, max_size=3
)
DECAYS = st.floats(0, 0.999)
EPSILONS = st.sampled_from([1e-8, 1e-5, 1e-2])


def _number_or_schedule(low, high):
  """A number, or a ramp of the update count up to it."""

  def ramp(value):
    def at(count):
      if isinstance(count, jax.Array):  # It is an integer in the reference.
        count = count.astype(float)
      return value * (count + 1) / UPDATES

    return at

  numbers = st.floats(low, high)
  return numbers | numbers.map(ramp)


def _homeostases(leaves):
  return st.none() | st.builds(
    reference.Homeostasis,
    max_update_norm=st.none() | st.floats(0.05, 5),
    target_rms=st.none() | st.floats(0, 1),
    adaptation_rate=st.floats(0, 3),
    target_rms_scale=st.none()
    | st.lists(st.floats(0.1, 40), min_size=leaves, max_size=leaves),
  )


@st.composite
def _hyperparameters(draw, leaves):
  weights = st.floats(0, 1.5)
  w_a, w_g, w_m = draw(
    st.tuples(weights, weights, weights).filter(lambda w: sum(w) > 0.1)
  )
  low = draw(st.floats(0, 1))
  return reference.Hyperparameters(
    gradient_only=draw(st.booleans()),
    activity_weight=w_a,
    gradient_weight=w_g,
    memory_weight=w_m,
    activity_decay=draw(DECAYS),
    memory_b1=draw(DECAYS),
    memory_b2=draw(DECAYS),
    min_alpha=low,
    max_alpha=low + draw(st.floats(0, 2)),
    plasticity_scale=draw(_number_or_schedule(0, 3)),
    # One α per tensor is nearly always 1: not too often.
    parameterwise=draw(st.sampled_from([True, True, True, False])),
    weight_decay=draw(_number_or_schedule(0, 0.5)),
    weight_decay_mask=draw(
      st.none() | st.lists(st.booleans(), min_size=leaves, max_size=leaves)
    ),
    homeostasis=draw(_homeostases(leaves)),
    eps=draw(EPSILONS),
  )


@st.composite
def _cases(draw):
  """Shapes, hyperparameters, a base and a seed."""
  shapes = draw(SHAPES)
  base = draw(st.sampled_from([None, 'trace', 'adam']))
  return shapes, draw(_hyperparameters(len(shapes))), base, draw(SEEDS)


SEEDS = st.integers(0, 2**32 - 1)
PUBLISHED = ([(3, 2), (), (4,)], reference.Hyperparameters(), None, 0)


def _nest(leaves):
  """A tree with these leaves in this order."""
  return [[x] if i % 2 else {'leaf': (x,)} for i, x in enumerate(leaves)]


def _tensors(shapes, dtype, rng):
  """Random leaves of all magnitudes, some elements zero."""
  leaves = []
  for shape in shapes:
    leaf = rng.normal(size=shape) * 10 ** rng.uniform(-3, 2)
    if np.issubdtype(dtype, np.complexfloating):
      leaf = leaf * np.exp(2j * np.pi * rng.uniform(size=shape))
    leaves.append(np.asarray(leaf * (rng.random(shape) < 0.9), dtype))
  return leaves


def _library(h, base):
  """The transformation of these hyperparameters."""
  arguments = {f.name: getattr(h, f.name) for f in dataclasses.fields(h)}
  if h.weight_decay_mask is not None:
    arguments['weight_decay_mask'] = _nest(h.weight_decay_mask)
  if h.homeostasis is not None:
    numbers = dataclasses.asdict(h.homeostasis)
    if h.homeostasis.target_rms_scale is not None:
      numbers['target_rms_scale'] = _nest(h.homeostasis.target_rms_scale)
    arguments['homeostasis'] = Homeostasis(**numbers)
  bases = {
    None: lambda: None,
    'trace': lambda: optax.trace(0.9),
    'adam': optax.scale_by_adam,
  }
  return neuroplastic(bases[base](), **arguments)


def _run_library(tx, params, gradients):
  """The directions of all updates, and the last state."""

  def step(carry, g):
    params, state = carry
    u, state = tx.update(g, state, params)
    return (jax.tree.map(lambda p, u: p - RATE * u, params, u), state), u

  params = _nest(map(jnp.asarray, params))
  gradients = _nest(map(jnp.asarray, gradients))
  run = jax.jit(
    lambda params, gradients: jax.lax.scan(
      step, (params, tx.init(params)), gradients
    )
  )
  (_, state), directions = run(params, gradients)
  return directions, state


class _Base:
  """The updates of a base, in float64."""

  def __init__(self, kind, params):
    self.kind = kind
    self.m = [np.zeros_like(p) for p in params]
    self.v = [np.zeros(np.shape(p)) for p in params]

  def update(self, gradients, t):
    if self.kind is None:
      return None
    if self.kind == 'trace':
      pairs = zip(self.m, gradients, strict=True)
      self.m = [reference.sgd_momentum(m, g) for m, g in pairs]
      return self.m
    triples = zip(self.m, self.v, gradients, strict=True)
    updates, self.m, self.v = zip(
      *(reference.adam(m, v, g, t) for m, v, g in triples), strict=True
    )
    return updates


def _run_reference(h, base, params, gradients):
  """The directions of all updates, and the last state."""
  wide = np.complex128 if np.iscomplexobj(params[0]) else np.float64
  params = [np.asarray(p, wide) for p in params]
  expected, base = reference.Reference(params, h), _Base(base, params)
  directions = []
  for t in range(UPDATES):
    g = [np.asarray(leaf[t], wide) for leaf in gradients]
    u = expected.update(g, params, base.update(g, t + 1))
    params = [p - RATE * u for p, u in zip(params, u, strict=True)]
    directions.append(u)
  return [np.stack(leaf) for leaf in zip(*directions, strict=True)], expected


def _assert_close(actual, expected, tolerance, what):
  for i, (x, y) in enumerate(zip(actual, expected, strict=True)):
    np.testing.assert_allclose(
      np.asarray(x),
      y,
      rtol=tolerance,
      atol=tolerance * max(np.max(np.abs(y)), 1e-30),
      err_msg=f'{what} of leaf {i}',
    )


def _check(dtype, case):
  shapes, h, base, seed = case
  rng = np.random.default_rng(seed)
  params = _tensors(shapes, dtype, rng)
  batches = [_tensors(shapes, dtype, rng) for _ in range(UPDATES)]
  gradients = [np.stack(leaf) for leaf in zip(*batches, strict=True)]
  tolerance = (TOLERANCE_OVER_ADAM if base == 'adam' else TOLERANCE)[dtype]

  with jax.enable_x64(dtype in ('float64', 'complex128')):
    actual, state = _run_library(_library(h, base), params, gradients)
    directions, expected = _run_reference(h, base, params, gradients)
    leaves = jax.tree.leaves(actual)
    assert {leaf.dtype.name for leaf in leaves} == {dtype}
    _assert_close(leaves, directions, tolerance, 'the update')
    for name in ('activity', 'memory_mu', 'memory_nu'):
      moment = getattr(state, name)
      if h.gradient_only:
        assert moment is None
      else:
        moments = jax.tree.leaves(moment)
        _assert_close(moments, getattr(expected, name), tolerance, name)
    assert state.count == UPDATES


# Every example is compiled anew, for a second or so, complex ones for longer.


@pytest.mark.parametrize(
  'dtype', ['float64', pytest.param('float32', marks=pytest.mark.slow)]
)
@hypothesis.settings(max_examples=EXAMPLES // 5)
@hypothesis.given(case=_cases())
@hypothesis.example(case=PUBLISHED)
def test_library_equals_reference(dtype, case):
  _check(dtype, case)


@pytest.mark.slow
@pytest.mark.parametrize('dtype', ['complex64', 'complex128'])
@hypothesis.settings(max_examples=EXAMPLES // 5)
@hypothesis.given(case=_cases())
@hypothesis.example(case=PUBLISHED)
def test_library_equals_reference_of_complex_tensors(dtype, case):
  _check(dtype, case)
