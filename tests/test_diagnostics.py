"""Diagnostics: the right numbers, wherever the state is."""

import re

import chex
from flax import nnx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import orbax.checkpoint as ocp
import pytest

from neuroplastic_optax import _statistics
from neuroplastic_optax import get_diagnostics
from neuroplastic_optax import Homeostasis
from neuroplastic_optax import LearningRateController
from neuroplastic_optax import neuroplastic
from neuroplastic_optax import neuroplastic_optimizer
from tests import reference
from tests.arrays import array
from tests.arrays import device_mesh
from tests.running import run
from tests.settings import mostly_slow
from tests.trees import Checked

PARAMS = {'a': array(6, 7), 'b': array(5)}
GRADIENT = jax.tree.map(lambda p: 3 * p**2 - 0.5, PARAMS)


def _last(tx, params=PARAMS, gradient=GRADIENT, updates=3):
  return run(tx, params, [gradient] * updates)


def _expected(alpha, g, p, u, raw):
  low, high = 0.2, 2.0
  counts = np.histogram(np.clip(alpha, low, high), 64, (low, high))[0]
  return {
    'alpha_mean': alpha.mean(),
    'alpha_std': alpha.std(),
    'alpha_min': alpha.min(),
    'alpha_max': alpha.max(),
    'alpha_fraction_near_min': np.mean(alpha <= low + 0.09),
    'alpha_fraction_near_max': np.mean(alpha >= high - 0.09),
    'alpha_histogram': counts,
    'gradient_norm': np.linalg.norm(g),
    'parameter_norm': np.linalg.norm(p),
    'modulation_norm': np.linalg.norm(alpha * g - g),
    'raw_update_norm': np.linalg.norm(raw),
    'update_norm': np.linalg.norm(u),
  }


@pytest.mark.parametrize('kappa', [1.0, 2.5])
def test_diagnostics_equal_reference_and_leave_updates_alone(kappa):
  kwargs = dict(plasticity_scale=kappa, weight_decay=0.1)
  u, each = _last(neuroplastic(diagnostics='per_leaf', **kwargs))
  v, pooled = _last(neuroplastic(diagnostics='global', **kwargs))
  plain, without = _last(neuroplastic(**kwargs))
  assert without.diagnostics is None
  chex.assert_trees_all_close(u, plain, rtol=1e-6)
  chex.assert_trees_all_close(v, plain, rtol=1e-6)
  h = reference.Hyperparameters(plasticity_scale=kappa, weight_decay=0.1)
  names = list(PARAMS)
  g = [np.asarray(GRADIENT[k], np.float64) for k in names]
  p = [np.asarray(PARAMS[k], np.float64) for k in names]
  ours = reference.Reference(p, h)
  for _ in range(3):
    ours.update(g, p)
  alphas = [ours.alpha(i, x) for i, x in enumerate(g)]
  raws = [a * x + 0.1 * y for a, x, y in zip(alphas, g, p, strict=True)]
  each, pooled = get_diagnostics(each), get_diagnostics(pooled)
  for i, k in enumerate(names):
    expected = _expected(alphas[i], g[i], p[i], u[k], raws[i])
    for name, value in expected.items():
      np.testing.assert_allclose(
        each[name][k], value, rtol=1e-4, atol=1e-6, err_msg=name
      )
    width = 1.8 / 64
    median = np.median(np.clip(alphas[i], 0.2, 2.0))
    assert abs(each['alpha_median'][k] - median) < 4 * width + 0.1
  flat = lambda xs: np.concatenate([np.ravel(x) for x in xs])
  together = _expected(
    flat(alphas), flat(g), flat(p), flat([u[k] for k in names]), flat(raws)
  )
  for name, value in together.items():
    np.testing.assert_allclose(
      pooled[name], value, rtol=1e-4, atol=1e-6, err_msg=name
    )
    assert pooled[name].shape == np.shape(value)


def test_median_is_within_a_bin_of_the_true_median():
  params = array(5000)
  _, state = _last(neuroplastic(diagnostics='global'), params, params, 1)
  u, _ = _last(neuroplastic(homeostasis=None), params, params, 1)
  alpha = np.median(np.asarray(u / params))
  assert abs(get_diagnostics(state)['alpha_median'] - alpha) < 1.8 / 64


@pytest.mark.parametrize('alpha', [0.2, 1.0, 2.0])
def test_median_is_between_the_least_and_the_largest(alpha):
  # All α are one number, at a bound or in a bin.
  tx = neuroplastic(
    diagnostics='global', parameterwise=False, gradient_weight=alpha,
    activity_weight=0.0, memory_weight=0.0,
  )  # fmt: skip
  _, state = _last(tx, updates=1)
  found = get_diagnostics(state)
  assert found['alpha_min'] <= found['alpha_median'] <= found['alpha_max']


def test_pooled_counts_saturate():
  """Two leaves of 1.5 thousand million elements: more than int32 counts."""
  known = {'alpha_mean': 1.25, 'low': 0.5, 'high': 2.0, 'alpha_max': 2.0}
  one = _statistics.Statistics(
    jnp.array([known.get(name, 0.0) for name in _statistics._NUMBERS]),
    jnp.zeros(64, jnp.int32).at[32].set(1_500_000_000),
  )
  pooled = _statistics.pool([one, one]).named()
  assert pooled['alpha_histogram'][32] == jnp.iinfo(jnp.int32).max
  assert jnp.sum(pooled['alpha_histogram'] != 0) == 1
  assert abs(pooled['alpha_mean'] - 1.25) < 1e-6
  assert abs(pooled['alpha_median'] - 1.25) < 1.5 / 64


@pytest.mark.parametrize('mode', ['global', 'per_leaf'])
def test_diagnostics_are_zero_before_the_first_update(mode):
  tx = neuroplastic(diagnostics=mode)
  found = get_diagnostics(tx.init(PARAMS))
  assert all(not np.any(x) for x in jax.tree.leaves(found))
  # And they change neither structure nor type.
  _, state = _last(tx)
  assert jax.tree.map(jax.typeof, state) == jax.tree.map(
    jax.typeof, tx.init(PARAMS)
  )


@pytest.mark.parametrize('mode', ['global', 'per_leaf'])
def test_diagnostics_keep_their_types_in_64_bit_mode(mode):
  with jax.enable_x64(True):
    dtypes = ('float32', 'float64', 'bfloat16')
    params = {'a': array(2, 3), 'b': [array(4).astype(d) for d in dtypes]}
    tx = neuroplastic(
      diagnostics=mode,
      stacked_axes={'a': 1, 'b': 0},
      controller=LearningRateController(),
    )
    step = lambda state, _: (tx.update(params, state, params)[1], None)
    state = tx.init(params)
    after, _ = jax.lax.scan(step, state, None, 2)
    assert jax.tree.map(jax.typeof, after) == jax.tree.map(jax.typeof, state)
    found = jax.tree.leaves(get_diagnostics(after))
    assert {x.dtype.name for x in found} == {'float32', 'int32'}


def test_parameter_norm_is_nan_without_params():
  tx = neuroplastic(diagnostics='global')
  _, state = tx.update(GRADIENT, tx.init(PARAMS))
  assert np.isnan(get_diagnostics(state)['parameter_norm'])


def test_diagnostics_show_what_controller_and_homeostasis_did():
  controller = LearningRateController(gain=2.0, low=0.0, high=9.0)
  u, state = _last(
    neuroplastic(
      controller=controller,
      homeostasis=Homeostasis(max_update_norm=0.1),
      diagnostics='per_leaf',
    )
  )
  found = get_diagnostics(state)
  for k in PARAMS:
    np.testing.assert_allclose(
      found['update_norm'][k], jnp.linalg.norm(u[k]), rtol=1e-5
    )
    assert abs(found['controller_multiplier'][k] - 1) > 1e-3
    assert found['raw_update_norm'][k] > found['update_norm'][k]


@mostly_slow('mode', {'global': 'global', 'per_leaf': 'per_leaf'}, 'per_leaf')
@pytest.mark.parametrize(
  'wrap',
  [
    lambda tx: optax.chain(optax.clip(1e6), tx),
    lambda tx: optax.masked(tx, {'a': True, 'b': False}),
    lambda tx: optax.MultiSteps(tx, 1).gradient_transformation(),
    lambda tx: optax.apply_if_finite(tx, 3),
  ],
)
def test_diagnostics_are_found_inside_wrappers(mode, wrap):
  tx = wrap(neuroplastic_optimizer(0.1, diagnostics=mode))
  _, state = _last(tx)
  found = jax.jit(get_diagnostics)(state)
  expected = get_diagnostics(state)
  jax.tree.map(np.testing.assert_array_equal, found, expected)
  assert np.all(jax.tree.leaves(found['alpha_mean'])[0] > 0)
  optax.tree.map_params(tx, lambda x: x, state)


def test_program_without_diagnostics_has_nothing_of_them(monkeypatch):
  tx = neuroplastic_optimizer(0.1, controller=LearningRateController())
  state = tx.init(PARAMS)
  lower = lambda: jax.jit(tx.update).lower(PARAMS, state, PARAMS).as_text()
  program = lower()
  assert not jax.tree.leaves(optax.tree.get(state, 'diagnostics'))
  # The library without the feature makes the same program.
  for name in ('measure', 'histogram', 'pool', 'zeros', 'median'):
    monkeypatch.delattr(_statistics, name)
  jax.clear_caches()
  assert lower() == program
  tx = neuroplastic_optimizer(0.1, diagnostics='global')
  with pytest.raises(AttributeError):
    tx.init(PARAMS)


def test_errors_say_what_to_do():
  with pytest.raises(ValueError, match='diagnostics.*global.*per_leaf'):
    neuroplastic(diagnostics='all')
  with pytest.raises(ValueError, match='off.*diagnostics="global"'):
    get_diagnostics(neuroplastic().init(PARAMS))
  with pytest.raises(ValueError, match='one NeuroplasticState.*0'):
    get_diagnostics(optax.adam(1e-3).init(PARAMS))


PAIRS = {
  'partition': lambda tx: optax.partition(
    {'one': tx, 'other': tx}, {'a': 'one', 'b': 'other'}
  ),
  'chain': lambda tx: optax.chain(tx, optax.scale(2.0), tx),
  'named': lambda tx: optax.named_chain(('one', tx), ('other', tx)),
  'injected': lambda tx: optax.inject_hyperparams(
    lambda rate: optax.chain(tx, optax.masked(tx, {'a': True, 'b': False}))
  )(0.1),
}


@pytest.mark.parametrize('pair', PAIRS.values(), ids=PAIRS)
def test_error_of_two_states_says_how_to_reach_each(pair):
  tx = pair(neuroplastic_optimizer(0.1, diagnostics='global'))
  _, opt_state = _last(tx)
  with pytest.raises(ValueError, match=r'one NeuroplasticState.* 2') as info:
    get_diagnostics(opt_state)
  calls = re.findall(r'get_diagnostics\(.*?\)(?= or|\.$)', str(info.value))
  assert len(calls) == 2
  names = {'get_diagnostics': get_diagnostics, 'opt_state': opt_state}
  for call in calls:
    assert eval(call, names)['alpha_mean'] > 0


@pytest.mark.parametrize('decoupled', [False, True])
def test_the_norm_of_the_update_is_before_the_learning_rate(decoupled):
  arguments = dict(weight_decay=0.1, decoupled_weight_decay=decoupled)
  tx = neuroplastic_optimizer(0.1, diagnostics='global', **arguments)
  _, state = _last(tx)
  direction = neuroplastic(weight_decay=0.0 if decoupled else 0.1)
  u, _ = _last(direction)
  found = get_diagnostics(state)['update_norm']
  np.testing.assert_allclose(found, optax.tree.norm(u), rtol=1e-5)


@pytest.mark.parametrize(
  'count', [_statistics._count_by_comparing, _statistics._count_by_scattering]
)
def test_every_platform_counts_the_same(count):
  index = np.random.default_rng(0).integers(0, 64, (3, 50))
  expected = np.bincount(index.ravel(), minlength=64)
  counts = jax.jit(count)(jnp.asarray(index))
  assert counts.dtype == jnp.int32
  np.testing.assert_array_equal(counts, expected)


# Statistics at some updates only: two optimizers with one state.

MEASURED = neuroplastic_optimizer(0.1, diagnostics='global')
PLAIN = neuroplastic_optimizer(0.1)


def _sometimes(measured, plain):
  """An update that measures every third time, inside a program."""

  def update(gradient, state, params):
    count = optax.tree.get(state, 'count')
    updates, state = jax.lax.cond(
      count % 3 == 2, measured.update, plain.update, gradient, state, params
    )
    return updates, state

  return update


def test_states_with_and_without_diagnostics_are_accepted_inside_scan():
  gradients = jax.tree.map(
    lambda p: jnp.stack([p * n - 0.3 for n in range(1, 8)]), PARAMS
  )

  def statistics(update):
    def step(state, gradient):
      updates, state = update(gradient, state, PARAMS)
      return state, (updates, get_diagnostics(state, flat=True))

    start = MEASURED.init(PARAMS)
    return jax.jit(lambda: jax.lax.scan(step, start, gradients)[1])()

  expected, always = statistics(MEASURED.update)
  updates, sometimes = statistics(_sometimes(MEASURED, PLAIN))
  chex.assert_trees_all_close(updates, expected, rtol=1e-6, atol=1e-7)
  for name, values in always.items():
    wanted = [0, 0, *[values[2]] * 3, *[values[5]] * 2]
    np.testing.assert_allclose(sometimes[name], wanted, rtol=1e-6)


@pytest.mark.slow
def test_states_with_and_without_diagnostics_in_multi_steps_and_orbax(tmp_path):
  measured, plain = (optax.MultiSteps(tx, 2) for tx in (MEASURED, PLAIN))
  state = measured.init(PARAMS)
  kind = jax.tree.map(jax.typeof, state)
  for update in (measured.update, measured.update, plain.update, plain.update):
    _, state = update(GRADIENT, state, PARAMS)
    assert jax.tree.map(jax.typeof, state) == kind
  kept = get_diagnostics(state.inner_opt_state)
  assert kept['alpha_mean'] > 0
  with ocp.StandardCheckpointer() as checkpointer:
    checkpointer.save(tmp_path / 'state', state)
    checkpointer.wait_until_finished()
    restored = checkpointer.restore(tmp_path / 'state', measured.init(PARAMS))
  chex.assert_trees_all_equal(restored, state)
  for update in (plain.update, plain.update):
    _, restored = update(GRADIENT, restored, PARAMS)
  after = get_diagnostics(restored.inner_opt_state)
  chex.assert_trees_all_equal(after, kept)
  # A state that was made without is given diagnostics.
  _, state = MEASURED.update(GRADIENT, PLAIN.init(PARAMS), PARAMS)
  assert get_diagnostics(state)['alpha_mean'] > 0


# One dictionary of scalars.


@pytest.mark.slow
def test_flat_statistics_are_named_scalars():
  params = {'a': {'kernel': PARAMS['a']}, 'b': PARAMS['b']}
  tx = neuroplastic_optimizer(
    0.1, diagnostics='per_leaf', stacked_axes={'a': 1, 'b': 0}
  )
  _, state = tx.update(params, tx.init(params), params)
  scalars = jax.jit(lambda s: get_diagnostics(s, flat=True))(state)
  trees = get_diagnostics(state)
  means = {'b/alpha_mean': trees['alpha_mean']['b']} | {
    f'a/kernel/{i}/alpha_mean': mean
    for i, mean in enumerate(trees['alpha_mean']['a']['kernel'])
  }
  assert scalars.items() >= means.items()
  assert len(scalars) == len(means) * (len(trees) - 1)
  assert not any('histogram' in name for name in scalars)
  assert all(jnp.ndim(x) == 0 for x in scalars.values())
  _, state = MEASURED.update(PARAMS, MEASURED.init(PARAMS), PARAMS)
  found = get_diagnostics(state)
  del found['alpha_histogram']
  assert get_diagnostics(state, flat=True) == found
  tx = neuroplastic(diagnostics='per_leaf')
  scalars = get_diagnostics(tx.init(jnp.ones(3)), flat=True)
  assert scalars['alpha_mean'] == 0


def test_diagnostics_are_found_under_injection():
  tx = optax.inject_hyperparams(
    neuroplastic_optimizer, static_args='diagnostics'
  )(0.1, diagnostics='per_leaf')
  _, state = _last(tx)
  assert get_diagnostics(state)['alpha_mean']['a'] > 0


@pytest.mark.parametrize('mode', ['global', 'per_leaf'])
def test_diagnostics_are_found_in_an_nnx_optimizer(mode):
  class Model(nnx.Module):
    def __init__(self):
      self.hidden = nnx.Linear(3, 2, rngs=nnx.Rngs(0))

    def __call__(self, x):
      return self.hidden(x)

  model = Model()
  tx = neuroplastic_optimizer(0.1, diagnostics=mode)
  optimizer = nnx.Optimizer(model, tx, wrt=nnx.Param)
  loss = lambda m: jnp.sum(m(jnp.ones((1, 3))) ** 2)
  for _ in range(2):
    optimizer.update(model, nnx.grad(loss)(model))
  for holder in (optimizer, optimizer.opt_state):
    trees = nnx.as_pure(get_diagnostics(holder)['alpha_mean'])
    flat = get_diagnostics(holder, flat=True)
    if mode == 'global':
      assert flat['alpha_mean'] == trees > 0
    else:
      assert trees['hidden'].keys() == {'kernel', 'bias'}
      assert flat['hidden/kernel/alpha_mean'] == trees['hidden']['kernel'] > 0


def test_node_that_checks_shapes_is_shown_as_a_dictionary_by_path():
  params = {'node': Checked(jnp.ones((2, 3)))}
  tx = neuroplastic(diagnostics='per_leaf')
  _, state = tx.update(params, tx.init(params), params)
  assert list(get_diagnostics(state)['alpha_mean']) == ['node/0']
  assert get_diagnostics(state, flat=True)['node/0/alpha_mean'] > 0


@pytest.mark.parametrize('mode', ['global', 'per_leaf'])
def test_diagnostics_work_where_rank_promotion_raises(mode):
  with jax.numpy_rank_promotion('raise'):
    tx = neuroplastic(
      diagnostics=mode,
      stacked_axes={'a': 1, 'b': 0},
      controller=LearningRateController(),
    )
    state = jax.jit(tx.init)(PARAMS)
    _, state = jax.jit(tx.update)(PARAMS, state, PARAMS)
    found = jax.jit(get_diagnostics)(state)
  assert jnp.all(jax.tree.leaves(found['alpha_mean'])[0] > 0)


def test_global_norm_is_infinite_where_one_of_a_tensor_is():
  params = {'huge': jnp.full(4, 3e38), 'b': jnp.ones(3)}
  tx = neuroplastic(diagnostics='global')
  _, state = tx.update(params, tx.init(params), params)
  assert get_diagnostics(state)['gradient_norm'] == jnp.inf


@pytest.mark.slow
@pytest.mark.parametrize('mode', ['global', 'per_leaf'])
def test_diagnostics_of_explicitly_sharded_params_need_no_mesh_context(mode):
  mesh = device_mesh('Explicit')
  sharding = jax.NamedSharding(mesh, jax.P('x', None))
  params = {'w': jax.device_put(array(8, 4), sharding)}
  for stacked_axes in (0, 1):
    tx = neuroplastic_optimizer(
      0.1, diagnostics=mode, stacked_axes=stacked_axes
    )
    state = tx.init(params)
    for update in (jax.jit(tx.update), tx.update):
      _, state = update(params, state, params)
    plain = {'w': jnp.asarray(np.asarray(params['w']))}
    _, expected = _last(tx, plain, plain, 2)
    found = get_diagnostics(state, flat=True)
    for name, value in get_diagnostics(expected, flat=True).items():
      np.testing.assert_allclose(found[name], value, rtol=1e-5, atol=1e-6)
