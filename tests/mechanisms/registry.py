"""Every mechanism, as a case that the conformance tests go through.

A mechanism takes part by an entry in `CASES`. Where it needs more than the
gradient and the params (a loss, a boundary, replicas), its case supplies that
from the state, so that every case is a transformation like any other.
"""

from collections.abc import Callable
import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import optax

from neuroplastic_optax import mechanisms
from neuroplastic_optax import neuroplastic
from neuroplastic_optax import units


def loss(params):
  """A loss of any params, finite for all that are."""
  wide = [
    x.astype(jnp.float32) if x.dtype.itemsize < 4 else x
    for x in jax.tree.leaves(params)
  ]
  parts = [jnp.sum(jnp.sqrt(1 + jnp.abs(x))) for x in wide]
  return sum((x.astype(jnp.float32) for x in parts), jnp.float32(0))


def _with(extra):
  """Supplies extra arguments that depend on the state."""

  def wrap(tx):
    def update(updates, state, params=None, **extra_args):
      return tx.update(updates, state, params, **extra(state), **extra_args)

    return optax.GradientTransformationExtraArgs(tx.init, update)

  return wrap


with_loss = _with(lambda state: {'value_fn': loss})
with_boundaries = _with(lambda state: {'new_task': state.count % 2 == 1})


def with_replicas(tx):
  """The first of two replicas; the other is at twice the params."""

  def update(updates, state, params=None, **extra_args):
    del extra_args

    def one(lane):
      times = jax.tree.map(lambda p: p * (1 + lane.astype(p.dtype)), params)
      return tx.update(updates, state, times)

    both = jax.vmap(one, axis_name='replicas')(jnp.arange(2))
    return jax.tree.map(lambda x: x[0], both)

  return optax.GradientTransformationExtraArgs(tx.init, update)


@dataclasses.dataclass(frozen=True)
class Case:
  """A mechanism with settings under which it does something.

  Attributes:
    make: the function that makes it.
    settings: its arguments.
    numbers: those of them, or others, that `inject_hyperparams` may inject,
      with values that are not the defaults.
    wrap: supplies what else its update needs.
    neutral: arguments that make it the identity.
    needs_params: whether its update raises without params.
  """

  make: Callable[..., Any]
  settings: dict[str, Any] = dataclasses.field(default_factory=dict)
  numbers: dict[str, float] = dataclasses.field(default_factory=dict)
  wrap: Callable[[Any], Any] = lambda tx: tx
  neutral: dict[str, Any] | None = None
  needs_params: bool = True

  def tx(self, **more):
    """The transformation."""
    return self.wrap(self.make(**{**self.settings, **more}))


def _variability(scale=0.1, distribution='normal', refresh=1):
  return mechanisms.neural_variability(
    optax.sgd(0.1, momentum=0.5), scale, distribution, refresh
  )


def _synergy(assignment='blend', weights=None, rate=1.0, floor=0.05):
  both = {
    'momentum': optax.trace(0.9),
    'plastic': neuroplastic(homeostasis=None),
  }
  return mechanisms.synergy(both, assignment, weights, rate, floor)


def _reset(period=None):
  return mechanisms.reset_moments(optax.scale_by_adam(), period)


def _inactive(
  rate=0.5, threshold=1.5, decay=0.95, utility='activity', to='initial',
  every=1, mask=None,
):  # fmt: skip
  return mechanisms.regenerate_inactive(
    optax.identity(), rate, threshold, decay, utility, to, every, mask
  )


# These are made of Optax's own transformations, whose accumulators are as wide
# as the params, overflow, and do not take None that was none at `init`.
WRAPPERS = (_variability, _synergy, _reset)

_m = mechanisms
_OFF = dict(strength=0.0)
CASES = {
  'classp': Case(
    _m.scale_by_classp, dict(power=1.5),
    dict(threshold=0.0, power=2.0, eps=0.1),
    neutral=dict(scaling=False), needs_params=False,
  ),
  'flip_signs': Case(
    _m.flip_signs, dict(fraction=0.5), dict(fraction=0.34),
    neutral=dict(fraction=0.0), needs_params=False,
  ),
  'flip_elements': Case(
    _m.flip_signs, dict(fraction=0.5, axis='element'), dict(fraction=0.25),
    neutral=dict(fraction=0.0), needs_params=False,
  ),
  'upgd': Case(
    _m.scale_by_upgd, dict(noise=0.1), dict(decay=0.9, noise=0.2)
  ),
  'upgd_local': Case(
    _m.scale_by_upgd, dict(noise=0.1, scaling='local', protect=False),
    dict(decay=0.9, noise=0.2),
  ),
  'upgd_published': Case(_m.scale_by_upgd, dict(bias_correction=False)),
  'consolidation': Case(
    _m.add_consolidation, dict(strength=2.0, anchor_decay=0.5),
    dict(strength=3.0, anchor_decay=0.9, importance_decay=0.8), neutral=_OFF,
  ),
  'consolidation_mas': Case(
    _m.add_consolidation,
    dict(strength=2.0, importance='mas', anchor_decay=0.5), neutral=_OFF,
  ),
  'elastic': Case(
    _m.elastic_weight_consolidation,
    dict(strength=2.0, decay=0.5, forgetting=0.1),
    dict(strength=3.0, decay=0.25, forgetting=0.2),
    wrap=with_boundaries, neutral=dict(strength=0.0, forgetting=0.0),
  ),
  'intelligence': Case(
    _m.synaptic_intelligence, dict(strength=2.0),
    dict(strength=3.0, damping=0.5), wrap=with_boundaries, neutral=_OFF,
  ),
  'regenerate': Case(
    _m.regenerate, dict(strength=0.5), dict(strength=0.25), neutral=_OFF
  ),
  'regenerate_l1': Case(
    _m.regenerate, dict(strength=0.5, norm='l1'), dict(strength=0.25),
    neutral=_OFF,
  ),
  'metaplasticity': Case(
    _m.metaplasticity, {}, dict(strength=0.5), neutral=_OFF
  ),
  'perturbation': Case(
    _m.simultaneous_perturbation, dict(epsilon=0.5), dict(epsilon=0.3),
    wrap=with_loss,
  ),
  'perturbation_normal': Case(
    _m.simultaneous_perturbation,
    dict(epsilon=0.5, distribution='normal', samples=2), dict(epsilon=0.2),
    wrap=with_loss,
  ),
  'exponentiate': Case(_m.exponentiate, {}, dict(max_exponent=0.5)),
  'keep_signs': Case(_m.keep_signs),
  'shrink_and_perturb': Case(
    _m.shrink_and_perturb, dict(shrink=0.1, perturb=0.1),
    dict(shrink=0.2, perturb=0.3), neutral=dict(shrink=0.0, perturb=0.0),
  ),
  'shrink_every': Case(
    _m.shrink_and_perturb, dict(shrink=0.1, perturb=0.1, every=2),
    dict(shrink=0.2, perturb=0.3, every=2), neutral=dict(every=1000),
  ),
  'clip': Case(
    _m.clip_weights, dict(bound=0.5), dict(bound=0.25),
    neutral=dict(bound=float('inf')),
  ),
  'clip_fan_in': Case(_m.clip_weights, dict(bound=_m.fan_in_bounds(0.5))),
  'sleep': Case(
    _m.sleep, dict(period=2, fraction=0.5, strength=0.5),
    dict(fraction=0.25, strength=0.75, period=2), neutral=dict(fraction=0.0),
  ),
  'sleep_jitter': Case(
    _m.sleep, dict(period=3, fraction=0.7, strength=0.5, jitter=0.3),
    dict(jitter=0.2, strength=0.75), neutral=dict(fraction=0.0),
  ),
  'tortoise': Case(
    _m.hare_and_tortoise, dict(decay=0.5, period=2),
    dict(decay=0.75, period=2), neutral=dict(period=1000),
  ),
  'replicas': Case(
    functools.partial(_m.couple_replicas, axis_name='replicas'),
    dict(strength=0.5), wrap=with_replicas, neutral=_OFF,
  ),
  'project': Case(
    _m.normalize_and_project,
    neutral=dict(mask=lambda p: jax.tree.map(lambda _: False, p)),
  ),
  'variability': Case(_variability, dict(scale=0.1), dict(scale=0.2)),
  'variability_kept': Case(
    _variability, dict(scale=0.1, distribution='laplace', refresh=2),
    dict(scale=0.2, refresh=2),
  ),
  'synergy': Case(
    _synergy, dict(weights={'momentum': 3.0, 'plastic': 1.0}),
    needs_params=False,
  ),
  'synergy_partition': Case(
    _synergy, dict(assignment='partition'), needs_params=False
  ),
  'synergy_adaptive': Case(
    _synergy, dict(assignment='adaptive'), dict(rate=2.0, floor=0.1),
    needs_params=False,
  ),
  'inactive': Case(
    _inactive, {}, dict(rate=0.25, threshold=1.2, decay=0.9),
    neutral=dict(rate=0.0),
  ),
  'inactive_fresh': Case(
    _inactive, dict(rate=1.0, utility='contribution', to='fresh', every=2),
    dict(rate=0.75, threshold=1.2, every=2), neutral=dict(threshold=0.0),
  ),
  'inactive_magnitude': Case(
    _inactive, dict(utility='magnitude'), dict(rate=0.25, threshold=1.2),
    neutral=dict(mask=lambda p: jax.tree.map(lambda _: False, p)),
  ),
  'regenerate_wasserstein': Case(
    _m.regenerate, dict(strength=0.5, norm='wasserstein'),
    dict(strength=0.25),
    neutral=dict(mask=lambda p: jax.tree.map(lambda _: False, p)),
  ),
  'shrink_init': Case(
    _m.shrink_and_perturb, dict(shrink=0.1, perturb=0.1, noise='init'),
    dict(shrink=0.2, perturb=0.3), neutral=dict(shrink=0.0, perturb=0.0),
  ),
  'adam': Case(
    units.scale_by_adam, dict(b1=0.5, b2=0.9, eps=0.1), needs_params=False
  ),
  'reset': Case(_reset, wrap=with_boundaries),
  'reset_period': Case(_reset, dict(period=2), dict(period=2)),
}  # fmt: skip

# What `inject_hyperparams` must leave alone.
STATIC = {_m.simultaneous_perturbation: ('samples',)}


def beside(txs):
  """Transformations by name, side by side, each with params of its own."""

  def init(params):
    return {name: tx.init(params[name]) for name, tx in txs.items()}

  def update(updates, state, params=None):
    pairs = {
      name: tx.update(updates[name], state[name], params and params[name])
      for name, tx in txs.items()
    }
    return tuple({name: pairs[name][i] for name in pairs} for i in range(2))

  return optax.GradientTransformation(init, update)
