"""The derivatives of what an optimizer reaches, by its own numbers.

The problem has what makes derivatives NaN: a leaf whose gradient is 0 at first
(LoRA), one whose gradient is always 0, and one with a single such element.
"""

import functools

import jax
from jax.flatten_util import ravel_pytree
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from neuroplastic_optax import Homeostasis
from neuroplastic_optax import LearningRateController
from neuroplastic_optax import modulations
from neuroplastic_optax import neuroplastic
from neuroplastic_optax import neuroplastic_optimizer
from tests.arrays import device_mesh

pytestmark = pytest.mark.slow

NUMBERS = {
  'learning_rate': 0.1,
  'activity_weight': 0.4,
  'gradient_weight': 0.4,
  'memory_weight': 0.2,
  'activity_decay': 0.95,
  'memory_b1': 0.9,
  'memory_b2': 0.99,
  'min_alpha': 0.2,
  'max_alpha': 2.0,
  'plasticity_scale': 1.5,
  'weight_decay': 0.01,
  'eps': 1e-8,
}
HOMEOSTASIS = {
  'max_update_norm': 1.0,
  'target_rms': 0.02,
  'adaptation_rate': 0.5,
}
CONTROLLER = {'gain': 0.3}
RULE = {'strength': 0.6, 'max_ratio': 0.4}
BASES = {
  None: lambda decay: None,
  'trace': optax.trace,
  # Without `eps_root`, the derivatives of Adam itself are NaN here.
  'adam': lambda decay: optax.scale_by_adam(decay, eps_root=1e-12),
}
# By name: the rule, the base, and what is static.
CASES = {
  'direct': (modulations.Direct, None, {}),
  'unit_mean': (
    functools.partial(modulations.Direct, normalize='mean'),
    'adam',
    {},
  ),
  'gain': (modulations.Gain, 'adam', {}),
  'momentum': (modulations.Momentum, 'trace', {}),
  'trust_ratio': (modulations.TrustRatio, 'trace', {}),
  'orthogonal': (modulations.Orthogonal, None, {}),
  'matched': (
    functools.partial(modulations.Orthogonal, match_gradient_norm=True),
    None,
    {},
  ),
  'gradient_only': (modulations.Gain, None, {'gradient_only': True}),
  'one_alpha': (modulations.Direct, None, {'parameterwise': False}),
}


def _numbers(case, homeostasis):
  """The numbers to differentiate by, each in its place."""
  rule, base, _ = CASES[case]
  return {
    'optimizer': dict(NUMBERS),
    'homeostasis': dict(HOMEOSTASIS) if homeostasis else {},
    'controller': dict(CONTROLLER),
    'rule': {} if 'Direct' in repr(rule) else dict(RULE),
    'base': {} if base is None else {'decay': 0.9},
  }


def _optimizer(case, numbers):
  rule, base, static = CASES[case]
  homeostasis = numbers['homeostasis']
  return neuroplastic_optimizer(
    **numbers['optimizer'],
    base=BASES[base](**({'decay': None} | numbers['base'])),
    modulation=rule(**numbers['rule']),
    homeostasis=Homeostasis(**homeostasis) if homeostasis else None,
    controller=LearningRateController(**numbers['controller']),
    **static,
  )


def _problem(dtype):
  """Params, and the loss of them."""
  rng = np.random.default_rng(0)
  draw = lambda *shape: jnp.asarray(rng.normal(size=shape), dtype)
  x, y = draw(5, 3), draw(5, 3)
  params = {
    'lora_a': draw(3, 2),
    # The last row is squared: a leaf fewer takes a quarter of the time.
    'lora_b': jnp.zeros((3, 3), dtype).at[2].set([1.0, 0.0, -2.0]),
    'unused': jnp.ones(4, dtype),
  }

  def loss(params):
    b, squared = params['lora_b'][:2], params['lora_b'][2] ** 2
    outputs = x @ params['lora_a'] @ b + squared
    return jnp.mean((outputs - y) ** 2) + 0 * jnp.sum(params['unused'])

  return params, loss


def _reached(case, numbers, dtype, scale=1.0):
  """The loss after three updates with gradients multiplied by `scale`."""
  params, loss = _problem(dtype)
  tx = _optimizer(case, numbers)

  def step(carry, _):
    params, state = carry
    gradient = jax.tree.map(lambda g: scale * g, jax.grad(loss)(params))
    updates, state = tx.update(gradient, state, params)
    return (optax.apply_updates(params, updates), state), None

  carry, _ = jax.lax.scan(step, (params, tx.init(params)), length=3)
  return loss(carry[0])


@pytest.mark.slow
@pytest.mark.parametrize('case', CASES)
def test_derivatives_are_finite_and_equal_in_both_modes(case):
  flat, unravel = ravel_pytree(
    jax.tree.map(jnp.float32, _numbers(case, homeostasis=True))
  )
  direction = jnp.linspace(0.5, 1.0, flat.size, dtype='float32')

  @jax.jit
  def derivatives(numbers, scale):
    reached = lambda x: _reached(case, unravel(x), 'float32', scale)
    _, forward = jax.jvp(reached, (numbers,), (direction,))
    return forward, jax.grad(reached)(numbers)

  for scale in (1.0, 1e-30):
    forward, backward = derivatives(flat, jnp.float32(scale))
    assert jnp.all(jnp.isfinite(backward))
    np.testing.assert_allclose(forward, direction @ backward, rtol=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize(
  ('case', 'homeostasis'),
  [*((case, True) for case in CASES), ('direct', False), ('gain', False)],
)
def test_derivatives_equal_finite_differences(case, homeostasis):
  with jax.enable_x64(True):
    numbers = jax.tree.map(jnp.asarray, _numbers(case, homeostasis))
    flat, unravel = ravel_pytree(numbers)
    reached = jax.jit(lambda x: _reached(case, unravel(x), 'float64'))
    # Forward: it compiles in a third of the time, and backward is the same.
    exact = jax.jit(jax.jacfwd(reached))(flat)
    estimated = []
    for step in jnp.diag(1e-4 * flat):
      slope = (reached(flat + step) - reached(flat - step)) / 2
      estimated.append(slope / jnp.sum(step))
  np.testing.assert_allclose(exact, estimated, rtol=1e-3, atol=1e-6)


def test_a_strength_of_zero_has_a_derivative():
  """Or a learnt strength that starts at 0 would stay there."""
  b, g = jnp.array([1.0, -2.0, 0.0]), jnp.array([0.3, -4.0, 0.0])

  def update(strength):
    tx = neuroplastic(
      optax.stateless(lambda updates, params: b),
      modulation=modulations.Gain(strength, max_ratio=10.0),
    )
    return tx.update(g, tx.init(g))[0]

  np.testing.assert_array_equal(update(jnp.float32(0.0)), b)
  slope = jax.jacfwd(update)(jnp.float32(0.0))
  np.testing.assert_allclose(slope, (update(0.01) - b) / 0.01, rtol=1e-3)


def _reached_on_a_line(tx, scale=1.0, last=0.0):
  """Σ params² after two updates; a gradient is 0 where a parameter is."""
  params = jnp.array([1.0, 0.5, -0.3, last])
  state = tx.init(params)
  for _ in range(2):
    gradient = scale * jnp.array([1.0, -2.0, 0.5, 1.0]) * params
    updates, state = tx.update(gradient, state, params)
    params = optax.apply_updates(params, updates)
  return jnp.sum(params**2)


def test_huge_gradients_have_finite_derivatives():
  """The update is bounded, so that what is reached is finite too."""
  direction = jnp.linspace(0.5, 1.0, 5, dtype='float32')

  def reached(numbers, scale):
    rate, kappa, most, target, max_alpha = numbers
    tx = neuroplastic_optimizer(
      rate,
      plasticity_scale=kappa,
      homeostasis=Homeostasis(most, target),
      max_alpha=max_alpha,
    )
    return _reached_on_a_line(tx, scale, last=0.7)

  @jax.jit
  def derivatives(x, scale):
    forward = jax.jvp(lambda x: reached(x, scale), (x,), (direction,))
    return forward, jax.grad(reached)(x, scale)

  numbers = jnp.array([0.1, 1.0, 1.0, 0.02, 2.0])
  for scale in (1e17, 1e20, 1e30):
    for found in jax.tree.leaves(derivatives(numbers, scale)):
      assert jnp.isfinite(found).all()


@pytest.mark.parametrize('homeostasis', [Homeostasis(), None])
def test_second_derivatives_are_finite_where_a_gradient_is_0(homeostasis):
  def reached(kappa):
    arguments = dict(plasticity_scale=kappa, homeostasis=homeostasis)
    return _reached_on_a_line(neuroplastic_optimizer(0.1, **arguments))

  assert jnp.isfinite(jax.jit(jax.grad(jax.grad(reached)))(1.0))


def test_derivatives_in_a_shard_map_with_diagnostics_are_those_of_the_whole():
  mesh = device_mesh()
  g = jnp.linspace(-1.0, 2.0, 16)

  def reached(kappa):
    def update(g):
      tx = neuroplastic(
        homeostasis=None,
        plasticity_scale=kappa,
        axis_name='x',
        diagnostics='global',
      )
      return tx.update(g, tx.init(g))[0]

    split = jax.shard_map(
      update, mesh=mesh, in_specs=jax.P('x'), out_specs=jax.P('x')
    )
    return jnp.sum(split(g) ** 2)

  def plain(kappa):
    tx = neuroplastic(homeostasis=None, plasticity_scale=kappa)
    return jnp.sum(tx.update(g, tx.init(g))[0] ** 2)

  np.testing.assert_allclose(
    jax.jit(jax.grad(reached))(1.0), jax.grad(plain)(1.0), rtol=1e-4
  )


def test_ratio_that_overflows_gives_the_controller_no_derivative():
  """Nor does the controller hear of it."""

  def update(kappa, gain):
    tx = neuroplastic(
      optax.trace(0.9),
      min_alpha=0.0,
      eps=1e-30,
      plasticity_scale=kappa,
      homeostasis=None,
      controller=LearningRateController(gain=gain),
    )
    state = tx.init(jnp.ones(2))
    _, state = tx.update(jnp.array([1.0, 2.0]), state)
    # α_grad is 0 now, and α is not.
    return tx.update(jnp.zeros(2), state)[0]

  without, by_controller = (
    jax.jvp(lambda kappa, gain=gain: update(kappa, gain), (1e12,), (1.0,))
    for gain in (0.0, 0.3)
  )
  assert (without[1] > 0).all()
  np.testing.assert_array_equal(by_controller, without)
