"""α over other optimizers: every rule, every base, with homeostasis or without.

An arm is called RULE_BASE, or RULE_BASE_homeostasis; unit_rms, which gives a
step the norm of the base's, has no homeostasis. Weight decay is that of the
published program: λθ enters the buffer of SGD momentum, and is decoupled over
Adam. It is decoupled over Muon too: ηλθ for every leaf, where the `muon` arm,
as its authors do, has the smaller rate for the leaves of Adam.

Published homeostasis cuts the update of a tensor to norm 1. Adam's has a norm
of about √n. With the base's own learning rate, which is the default, such an
arm thus takes far shorter steps; it is tuned over larger rates.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import optax

from experiments.optimizers import arm
from experiments.optimizers import controls
from experiments.optimizers import muon_direction
from experiments.optimizers import plastic
from experiments.optimizers.arm import Range
from neuroplastic_optax import Homeostasis
from neuroplastic_optax import modulations

_STRENGTH = {'strength': Range(0.15, 0.05, 1.0)}


def _sgdm(decay: Any, _: arm.Context) -> dict[str, Any]:
  # α still comes from the gradient itself: the decay is inside of the base.
  base = optax.chain(optax.add_decayed_weights(decay), optax.trace(decay=0.9))
  return dict(base=base, weight_decay=0.0)


def _adam(_: Any, __: arm.Context) -> dict[str, Any]:
  return dict(base=optax.scale_by_adam(), decoupled_weight_decay=True)


def _muon(_: Any, context: arm.Context) -> dict[str, Any]:
  base = muon_direction.scale_by_muon_and_adam(context.stacked_axes)
  return dict(base=base, decoupled_weight_decay=True)


class _Base(NamedTuple):
  """A base of the grid: what a sentence calls it, and its hyperparameters.

  Attributes:
    bounded_rate: the learning rate with homeostasis.
    options: from the value of the decay and the context, arguments of
      `neuroplastic_optimizer`.
    momentum: that of its state, where `modulations.Momentum` cannot know.
  """

  title: str
  rate: Range
  bounded_rate: Range
  decay: dict[str, Range]
  options: Callable[[Any, arm.Context], dict[str, Any]]
  momentum: Callable[[Any], Any] | None = None


_BASES = {
  'sgdm': _Base(
    'SGD momentum',
    Range(0.01, 1e-3, 1.0),
    Range(0.01, 1e-3, 1.0),
    arm.L2,
    _sgdm,
  ),
  'adam': _Base(
    'Adam',
    arm.ADAM_RATE[arm.LEARNING_RATE],
    Range(1e-3, 1e-3, 1.0),
    arm.DECOUPLED,
    _adam,
  ),
  'muon': _Base(
    'Muon',
    muon_direction.LEARNING_RATE,
    Range(muon_direction.LEARNING_RATE.default, 0.01, 1.0),
    arm.DECOUPLED,
    _muon,
    muon_direction.momentum,
  ),
}
_Make = Callable[[Any, _Base], modulations.Modulation]
# What stands before the name of the base, and the rule, from its strength, if
# it has one, and the base.
_RULES: dict[str, tuple[str, _Make]] = {
  'direct': ('α times the update of', lambda _, __: modulations.Direct()),
  'gain': ('A gain over', lambda s, _: modulations.Gain(s)),
  'momentum': (
    'Plasticity on the momentum of',
    lambda s, base: modulations.Momentum(s, momentum=base.momentum),
  ),
  'trust_ratio': (
    'The trust ratio over',
    lambda s, _: modulations.TrustRatio(s),
  ),
  'unit_rms': (
    'α at the norm of',
    lambda _, __: controls.AT_THE_NORM_OF_THE_BASE,
  ),
}


def hyperparameters(
  rule: str, base_name: str, *, homeostasis: bool = False
) -> dict[str, Range]:
  """The hyperparameters of an arm of the grid."""
  base = _BASES[base_name]
  return {
    arm.LEARNING_RATE: base.bounded_rate if homeostasis else base.rate,
    **base.decay,
    **plastic.KAPPA,
    **({} if rule in ('direct', 'unit_rms') else _STRENGTH),
  }


def _add(rule: str, base_name: str, *, homeostasis: bool) -> None:
  """Registers one arm of the grid."""
  (title, make), base = _RULES[rule], _BASES[base_name]

  def options(values: arm.Values, context: arm.Context) -> dict[str, Any]:
    return dict(
      modulation=make(values.get('strength'), base),
      **base.options(values['weight_decay'], context),
    )

  how = (
    'with homeostasis as published' if homeostasis else 'without homeostasis'
  )
  plastic.add(
    f'{rule}_{base_name}' + ('_homeostasis' if homeostasis else ''),
    f'{title} {base.title}, {how}.',
    options,
    family=arm.HYBRIDS,
    hyperparameters=hyperparameters(rule, base_name, homeostasis=homeostasis),
    homeostasis=Homeostasis() if homeostasis else None,
  )


for _homeostasis in (False, True):
  for _base_name in _BASES:
    for _rule in _RULES:
      # The clip of homeostasis would change the norm that unit_rms has set.
      if not (_homeostasis and _rule == 'unit_rms'):
        _add(_rule, _base_name, homeostasis=_homeostasis)
