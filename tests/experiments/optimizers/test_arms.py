"""Each arm equals the optimizer it is named after, also inside `vmap`."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
from optax import contrib
import pytest

from experiments import optimizers
from experiments.optimizers import arm as arms
from experiments.optimizers import muon_direction
from experiments.optimizers import regeneration
from experiments.optimizers import schedules
from neuroplastic_optax import get_diagnostics
from tests.experiments import program
from tests.experiments.optimizers import expected


def _build(name, context=expected.CONTEXT, **values):
  """The arm's optimizer, with these values and its defaults."""
  arm = optimizers.ARMS[name]
  return arm.build(arm.values(values), context)


def test_every_arm_is_tested():
  assert set(optimizers.ARMS) == set(expected.ARMS)


def test_every_arm_has_family_unique_name_description_and_ranges():
  for arm in optimizers.ARMS.values():
    assert arm.family in optimizers.FAMILIES
    with pytest.raises(ValueError, match=f"two arms are called '{arm.name}'"):
      arms.add(arm)
    assert arm.description.endswith('.')
    assert next(iter(arm.hyperparameters)) == 'learning_rate'
    for each in arm.hyperparameters.values():
      assert 0 <= each.low < each.high
      # A decay of 0 is off, and lies outside of the tuned range.
      assert each.low <= each.default <= each.high or each.default == 0


# Some of every module, and of every way in which it makes an arm.
_FAST = {
  *('full', 'unit_rms_no_clip', 'shuffled', 'gain_adam_early', 'unit_rms_muon'),
  *('controlled_layer', 'adamw', 'muon', 'schedule_free', 'upgd', 'ewc'),
  'regenerate_misplaced',
}


_arms = pytest.mark.parametrize(
  'name',
  [
    pytest.param(x, marks=() if x in _FAST else pytest.mark.slow)
    for x in expected.ARMS
  ],
)


@_arms
def test_arm_equals_its_optimizer_and_every_hyperparameter_acts(
  name, monkeypatch
):
  monkeypatch.setattr(regeneration, 'SWR_EVERY', 4)
  arm = optimizers.ARMS[name]
  alone = list(dict.fromkeys(expected.ARMS[name]))
  # With the default decay, and with another one.
  rows = [{'learning_rate': 0.01, 'weight_decay': 0.1}] * len(alone)
  rows[0] = {'learning_rate': 0.01}
  # So large that a decay is seen in float32. Prodigy's is a factor of 1e-6.
  rate = {'learning_rate': 1e4 if name == 'prodigy' else 0.01}
  for each, tuned in arm.hyperparameters.items():
    others = {} if each == 'learning_rate' else rate
    rows += [{**others, each: tuned.low}, {**others, each: tuned.high}]

  def path(values):
    schedule = lambda count: values['learning_rate']
    # A trial's numbers, which are tracers; the rate may be a schedule, too.
    return expected.path(
      arm.build({**values, 'learning_rate': schedule}, expected.CONTEXT)
    )

  traced = [jax.tree.map(jnp.float32, arm.values(row)) for row in rows]
  jit = functools.partial(jax.jit, compiler_options=program.quick())
  found = jit(jax.vmap(path))(jax.tree.map(lambda *x: jnp.stack(x), *traced))
  paths = jit(lambda: [expected.path(optimizer) for optimizer in alone])()
  for i, each in enumerate(paths):
    jax.tree.map(
      lambda x, y, i=i: np.testing.assert_allclose(
        x[i], y, rtol=2e-5, atol=1e-6
      ),
      found,
      each,
    )
  for i, each in enumerate(arm.hyperparameters):
    low = len(alone) + 2 * i
    assert any(
      (x[low, -1] != x[low + 1, -1]).any() for x in jax.tree.leaves(found)
    ), each


def test_alpha_bounds_are_the_extremes_of_alpha():
  context = dataclasses.replace(expected.CONTEXT, diagnostics='global')
  params = jnp.zeros(1000)
  gradient = jnp.zeros(1000).at[0].set(1.0)
  optimizer = _build('gradient_only', context, plasticity_scale=0.0)
  _, state = optimizer.update(gradient, optimizer.init(params), params)
  found = get_diagnostics(state)
  extremes = found['alpha_min'], found['alpha_max']
  bounds = optimizers.ARMS['gradient_only'].alpha_bounds
  np.testing.assert_allclose(extremes, bounds, rtol=1e-5)
  assert {arm.alpha_bounds for arm in optimizers.ARMS.values()} == {
    *(None, (0.2, 2.0), (0.5, 1.5))
  }


def _stack():
  """The parameters of the stack, smaller, and which leaves are stacked."""
  shapes = {
    'embedding': jax.ShapeDtypeStruct((6, 4), 'float32'),
    'blocks': {
      'kernel': jax.ShapeDtypeStruct((2, 4, 8), 'float32'),
      'scale': jax.ShapeDtypeStruct((2, 4), 'float32'),
    },
    'conv': jax.ShapeDtypeStruct((3, 3, 2, 4), 'float32'),
  }
  return shapes, lambda path, _: int('blocks' in jax.tree_util.keystr(path))


def test_muon_takes_matrices_convolutions_and_stacks():
  found = muon_direction.dimensions(*_stack())
  assert found['embedding'] is None
  assert found['blocks']['scale'] is None
  assert found['blocks']['kernel'] == ((1,), (2,))
  assert found['conv'] == ((0, 1, 2), (3,))


@_arms
def test_every_arm_takes_stacked_leaves(name):
  shapes, stacked_axes = _stack()
  context = dataclasses.replace(expected.CONTEXT, stacked_axes=stacked_axes)
  tx = _build(name, context)
  jax.eval_shape(lambda p: expected.update(tx, p, tx.init(p), p, 0), shapes)


def test_schedule_free_is_evaluated_at_its_average():
  arm, optimizer = optimizers.ARMS['schedule_free'], _build('schedule_free')
  params, state = expected.PARAMS, optimizer.init(expected.PARAMS)
  for _ in range(3):
    updates, state = optimizer.update(expected.GRADIENT, state, params)
    params = optax.apply_updates(params, updates)
  average = contrib.schedule_free_eval_params(state, params)
  jax.tree.map(
    np.testing.assert_array_equal, arm.eval_params(state, params), average
  )
  assert (average['a'] != params['a']).any()
  assert {a.name for a in optimizers.ARMS.values() if a.eval_params} == {
    *('schedule_free', 'hare_and_tortoise', 'neural_variability')
  }


def test_schedules_are_constant_or_a_cosine():
  assert schedules.scheduled('constant', 0.3, expected.CONTEXT) == 0.3
  cosine = schedules.scheduled('cosine', 0.3, expected.CONTEXT)
  steps = expected.CONTEXT.epochs * expected.CONTEXT.steps_per_epoch
  wave = 0.15 * (1 + np.cos(np.pi * np.arange(steps + 1) / steps))
  found = [cosine(jnp.int32(count)) for count in range(steps + 1)]
  np.testing.assert_allclose(found, wave, atol=1e-7)


@_arms
def test_the_default_rate_of_an_arm_learns(name):
  """On a quadratic: the loss comes well down in 100 updates, or 1500."""
  # Steps are small at the defaults of Lion, Muon's Adam and SPSA; Prodigy has
  # to find its own, and the tortoise lags behind.
  slow = 'lion', 'prodigy', 'hare_and_tortoise', 'spsa'
  small = name in slow or 'muon' in name
  steps = 1500 if small else 100
  context = dataclasses.replace(expected.CONTEXT, steps_per_epoch=50)
  optimizer = _build(name, context)
  start = jnp.array([0.1, -0.1, 0.05])
  loss = lambda x: jnp.sum(x**2)

  def step(carry, _):
    params, state = carry
    updates, state = optax.with_extra_args_support(optimizer).update(
      jax.grad(loss)(params), state, params, value_fn=loss
    )
    return (optax.apply_updates(params, updates), state), None

  carry = start, optimizer.init(start)
  (end, state), _ = jax.lax.scan(step, carry, length=steps)
  if optimizers.ARMS[name].eval_params:
    end = optimizers.ARMS[name].eval_params(state, end)
  assert loss(end) < 0.2 * loss(start)
