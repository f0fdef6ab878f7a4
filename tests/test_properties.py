"""What holds of any tree, any numbers and any chain of transformations."""

import functools

import chex
import hypothesis
from hypothesis import given
from hypothesis import strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from neuroplastic_optax import Homeostasis
from neuroplastic_optax import LearningRateController
from neuroplastic_optax import mechanisms
from neuroplastic_optax import modulations
from neuroplastic_optax import neuroplastic
from tests.running import trained
from tests.trees import seeds
from tests.trees import stack
from tests.trees import types_of

# Each example compiles its operations.
pytestmark = pytest.mark.slow
few = hypothesis.settings(
  max_examples=max(1, hypothesis.settings().max_examples * 2 // 5)
)

# Few, since JAX compiles every operation for each; an empty one among them.
SHAPES = ((), (1,), (5,), (3, 4), (2, 3, 2), (0, 3))


def forms(dtypes=('float32', 'bfloat16', 'float16'), most=4):
  """Nested trees of shapes and dtypes; some have no leaf but None."""
  leaf = st.builds(
    jax.ShapeDtypeStruct, st.sampled_from(SHAPES), st.sampled_from(dtypes)
  )
  trees = st.recursive(
    leaf | st.none(),
    lambda inside: (
      st.dictionaries(st.sampled_from('abc'), inside, max_size=3)
      | st.lists(inside, max_size=3)
      | st.tuples(inside, inside)
    ),
    max_leaves=most,
  )
  return trees.filter(jax.tree.leaves)


def _problem(form, seed, exponent=0.0):
  """Params, and a gradient near 10^exponent for each of three steps."""

  def filled(seed, exponent):
    rng = np.random.default_rng(seed)

    def leaf(x):
      most = float(jnp.finfo(x.dtype).max) / 64  # A few may be added.
      values = rng.normal(size=x.shape) * 10.0**exponent
      values *= rng.random(x.shape) > 0.1
      return jnp.asarray(np.clip(values, -most, most), x.dtype)

    return jax.tree.map(leaf, form)

  return filled(seed, 0.0), [filled(seed + i, exponent) for i in (1, 2, 3)]


_decays = st.sampled_from([0.0, 0.5, 0.9, 0.99])
_rules = st.one_of(
  st.builds(modulations.Direct, st.sampled_from([None, 'mean', 'norm'])),
  *(
    st.builds(
      rule,
      strength=st.floats(0, 2, width=16),
      max_ratio=st.sampled_from([0.0, 0.25, 2.0]),
    )
    for rule in (
      *(modulations.Gain, modulations.TrustRatio),
      functools.partial(modulations.Orthogonal, match_gradient_norm=True),
    )
  ),
)
_plastic = st.builds(
  neuroplastic,
  st.sampled_from([None, optax.trace(0.9)]),
  modulation=_rules,
  homeostasis=st.sampled_from(['auto', None, Homeostasis(0.1, None)]),
  controller=st.sampled_from([None, LearningRateController(gain=1.0)]),
  gradient_only=st.booleans(),
  activity_decay=_decays,
  memory_b1=_decays,
  memory_b2=_decays,
  min_alpha=st.sampled_from([0.0, 0.2, 1.0]),
  max_alpha=st.sampled_from([1.0, 2.0]),
  plasticity_scale=st.sampled_from([0.0, 1.0, 3.0]),
  parameterwise=st.booleans(),
  weight_decay=st.sampled_from([0.0, 0.1]),
  diagnostics=st.sampled_from([None, 'global', 'per_leaf']),
)
_ours = _plastic | st.sampled_from(
  [
    *(mechanisms.regenerate(0.1), mechanisms.add_consolidation()),
    *(mechanisms.scale_by_classp(), mechanisms.metaplasticity()),
    *(mechanisms.scale_by_upgd(), mechanisms.flip_signs(0.5)),
    mechanisms.reset_moments(optax.trace(0.9)),
    mechanisms.synergy({'trace': optax.trace(0.9), 'plastic': neuroplastic()}),
  ]
)
_optax = st.sampled_from(
  [
    *(optax.scale_by_adam(), optax.trace(0.9), optax.scale_by_sign()),
    *(optax.clip(0.5), optax.clip_by_global_norm(1.0)),
    *(optax.add_decayed_weights(0.1), optax.scale_by_belief()),
  ]
)
_last = st.sampled_from(
  [
    *(optax.identity(), mechanisms.keep_signs(), mechanisms.clip_weights(2.0)),
    *(mechanisms.exponentiate(), mechanisms.hare_and_tortoise(0.9, period=2)),
    *(mechanisms.sleep(period=2), mechanisms.normalize_and_project()),
    mechanisms.shrink_and_perturb(0.1, 0.1, every=2),
  ]
)


def chains(links):
  """Complete optimizers of random depth."""
  return st.builds(
    lambda links, rate, end: optax.chain(*links, optax.scale(-rate), end),
    st.lists(links, min_size=1, max_size=3),
    st.sampled_from([0.1, 1.0]),
    _last,
  )


@given(forms(), chains(_ours), seeds, st.sampled_from([-30.0, 0.0, 3.0, 30.0]))
def test_our_updates_stay_finite_and_of_their_type(form, tx, seed, exponent):
  """Some of Optax's divide 0 by 0 in float16."""
  params, gradients = _problem(form, seed, exponent)
  state = tx.init(params)
  for gradient in gradients:
    updates, after = tx.update(gradient, state, params)
    assert types_of(updates) == types_of(params)
    assert types_of(after) == types_of(state)
    chex.assert_tree_all_finite(updates)
    state = after


@few
@given(forms(['float32'], most=2), chains(_ours | _optax), seeds)
def test_mapped_and_compiled_training_is_a_loop(form, tx, seed):
  problems = [_problem(form, seed + 10 * i) for i in range(2)]
  train = jax.jit(jax.vmap(functools.partial(trained, tx)))
  alone = [trained(tx, *problem) for problem in problems]
  mapped = train(*stack(problems))
  chex.assert_trees_all_close(mapped, stack(alone), rtol=1e-4, atol=1e-5)
