"""Hypothesis's strategies: trees, values, and chains of transformations."""

import functools

from hypothesis import strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import optax

from neuroplastic_optax import Homeostasis
from neuroplastic_optax import LearningRateController
from neuroplastic_optax import mechanisms
from neuroplastic_optax import modulations
from neuroplastic_optax import neuroplastic

seeds = st.integers(0, 2**32 - 1)
# Few, since JAX compiles every operation for each; an empty one among them.
SHAPES = ((), (1,), (5,), (3, 4), (2, 3, 2), (0, 3))
DTYPES = ('float32', 'bfloat16', 'float16')


def trees(leaves, most=4):
  """Nested dicts, lists and tuples; some have no leaf but None."""
  return st.recursive(
    leaves | st.none(),
    lambda inside: (
      st.dictionaries(st.sampled_from('abc'), inside, max_size=3)
      | st.lists(inside, max_size=3)
      | st.tuples(inside, inside)
    ),
    max_leaves=most,
  )


def forms(shapes=SHAPES, dtypes=DTYPES, most=4):
  """Trees of shapes and dtypes."""
  leaf = st.builds(
    jax.ShapeDtypeStruct, st.sampled_from(shapes), st.sampled_from(dtypes)
  )
  return trees(leaf, most).filter(jax.tree.leaves)


def filled(form, seed, exponent=0.0):
  """A tree of a form, of random numbers near 10^exponent; some are 0.

  None is so large that a few of them would overflow when they are added.
  """
  rng = np.random.default_rng(seed)

  def leaf(x):
    most = float(jnp.finfo(x.dtype).max) / 64
    values = rng.normal(size=x.shape) * 10.0**exponent
    values *= rng.random(x.shape) > 0.1
    return jnp.asarray(np.clip(values, -most, most), x.dtype)

  return jax.tree.map(leaf, form)


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
_homeostasis = st.sampled_from(['auto', None]) | st.builds(
  Homeostasis,
  max_update_norm=st.sampled_from([None, 0.1, 1.0]),
  target_rms=st.sampled_from([None, 0.0, 0.02]),
)


_BASES = (None, optax.trace(0.9))


@st.composite
def plastic(draw, bases=_BASES):
  """`neuroplastic` with arguments of all kinds."""
  low = draw(st.sampled_from([0.0, 0.2, 1.0]))
  return neuroplastic(
    draw(st.sampled_from(bases)),
    modulation=draw(_rules),
    homeostasis=draw(_homeostasis),
    controller=draw(st.sampled_from([None, LearningRateController(gain=1.0)])),
    gradient_only=draw(st.booleans()),
    activity_decay=draw(_decays),
    memory_b1=draw(_decays),
    memory_b2=draw(_decays),
    min_alpha=low,
    max_alpha=low + draw(st.sampled_from([0.0, 1.0])),
    plasticity_scale=draw(st.sampled_from([0.0, 1.0, 3.0])),
    parameterwise=draw(st.booleans()),
    weight_decay=draw(st.sampled_from([0.0, 0.1])),
    diagnostics=draw(st.sampled_from([None, 'global', 'per_leaf'])),
  )


def _is_kernel(params):
  return jax.tree.map(lambda x: jnp.ndim(x) > 1, params)


# Ours that treat all elements of a leaf, and all leaves, alike; and those that
# draw noise by position, or know which axis is which.
_ours_alike = plastic() | st.sampled_from(
  [
    *(mechanisms.regenerate(0.1), mechanisms.add_consolidation()),
    *(mechanisms.scale_by_classp(), mechanisms.metaplasticity()),
    *(mechanisms.scale_by_upgd(noise=0.0), mechanisms.reset_moments(_BASES[1])),
  ]
)
_ours = _ours_alike | st.sampled_from(
  [
    *(mechanisms.flip_signs(0.5), mechanisms.scale_by_upgd(scaling='local')),
    mechanisms.synergy({'trace': optax.trace(0.9), 'plastic': neuroplastic()}),
  ]
)
_optax_alike = plastic((*_BASES, optax.scale_by_adam())) | st.sampled_from(
  [
    *(optax.scale_by_adam(), optax.trace(0.9), optax.scale_by_sign()),
    *(optax.clip(0.5), optax.clip_by_global_norm(1.0), optax.identity()),
    *(optax.add_decayed_weights(0.1), optax.scale_by_belief()),
  ]
)
_optax = _optax_alike | st.just(optax.masked(optax.trace(0.5), _is_kernel))
_last_alike = st.sampled_from(
  [
    *(optax.identity(), mechanisms.keep_signs(), mechanisms.clip_weights(2.0)),
    *(mechanisms.exponentiate(), mechanisms.hare_and_tortoise(0.9, period=2)),
  ]
)
_last = _last_alike | st.sampled_from(
  [
    mechanisms.shrink_and_perturb(0.1, 0.1, every=2),
    mechanisms.sleep(period=2, fraction=0.5),
    mechanisms.normalize_and_project(),
  ]
)


def _chains(links, ends):
  return st.builds(
    lambda links, rate, end: optax.chain(*links, optax.scale(-rate), end),
    st.lists(links, min_size=1, max_size=3),
    st.sampled_from([0.1, 1.0]),
    ends,
  )


# Complete optimizers of random depth: of ours alone, of ours and Optax's, and
# those that treat all elements of a leaf and all leaves alike.
our_chains = _chains(_ours, _last)
chains = _chains(_ours | _optax, _last)
alike_chains = _chains(_ours_alike | _optax_alike, _last_alike)
