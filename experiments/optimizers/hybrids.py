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
_DECOUPLED = Range(0.0, 1e-4, 1.0)


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
  """A base of the grid.

  Attributes:
    title: what it is called in a sentence.
    rate: the learning rate without homeostasis.
    bounded_rate: the learning rate with it.
    decay: the weight decay.
    options: from the value of the decay and the context, arguments of
      `neuroplastic_optimizer`.
  """

  title: str
  rate: Range
  bounded_rate: Range
  decay: Range
  options: Callable[[Any, arm.Context], dict[str, Any]]


class _Rule(NamedTuple):
  """A rule of the grid.

  Attributes:
    title: what stands before the name of the base.
    make: the rule, from a value of each of its hyperparameters.
    hyperparameters: its own.
    bounded: whether it comes with homeostasis, too.
  """

  title: str
  make: Callable[..., modulations.Modulation]
  hyperparameters: dict[str, Range]
  bounded: bool = True


_BASES = {
  'sgdm': _Base(
    'SGD momentum',
    Range(0.01, 1e-3, 1.0),
    Range(0.01, 1e-3, 1.0),
    Range(0.0, 1e-6, 1e-2),
    _sgdm,
  ),
  'adam': _Base(
    'Adam',
    Range(1e-3, 1e-4, 1e-2),
    Range(1e-3, 1e-3, 1.0),
    _DECOUPLED,
    _adam,
  ),
  'muon': _Base(
    'Muon',
    muon_direction.LEARNING_RATE,
    Range(muon_direction.LEARNING_RATE.default, 0.01, 1.0),
    _DECOUPLED,
    _muon,
  ),
}
_RULES = {
  'direct': _Rule('α times the update of', modulations.Direct, {}),
  'gain': _Rule('A gain over', modulations.Gain, _STRENGTH),
  'momentum': _Rule(
    'Plasticity on the momentum of', modulations.Momentum, _STRENGTH
  ),
  'trust_ratio': _Rule(
    'The trust ratio over', modulations.TrustRatio, _STRENGTH
  ),
  # The clip of homeostasis would change the norm that it has just set.
  'unit_rms': _Rule(
    'α at the norm of',
    lambda: controls.AT_THE_NORM_OF_THE_BASE,
    {},
    bounded=False,
  ),
}
# By what is added to the name.
_HOMEOSTASIS = {'': None, '_homeostasis': Homeostasis()}


def hyperparameters(
  rule_name: str, base_name: str, *, homeostasis: bool
) -> dict[str, Range]:
  """The hyperparameters of an arm of the grid."""
  rule, base = _RULES[rule_name], _BASES[base_name]
  return {
    arm.LEARNING_RATE: base.bounded_rate if homeostasis else base.rate,
    'weight_decay': base.decay,
    **plastic.KAPPA,
    **rule.hyperparameters,
  }


def _add(rule_name: str, base_name: str, suffix: str) -> None:
  """Registers one arm of the grid."""
  rule, base = _RULES[rule_name], _BASES[base_name]
  homeostasis = _HOMEOSTASIS[suffix]
  more: dict[str, Any] = {}
  if (rule_name, base_name) == ('momentum', 'muon'):
    more = {'momentum': muon_direction.momentum}

  def options(values: arm.Values, context: arm.Context) -> dict[str, Any]:
    return dict(
      modulation=rule.make(
        **{name: values[name] for name in rule.hyperparameters}, **more
      ),
      homeostasis=homeostasis,
      **base.options(values['weight_decay'], context),
    )

  how = (
    'with homeostasis as published' if homeostasis else 'without homeostasis'
  )
  plastic.add(
    rule_name + '_' + base_name + suffix,
    arm.HYBRIDS,
    f'{rule.title} {base.title}, {how}.',
    hyperparameters(rule_name, base_name, homeostasis=homeostasis is not None),
    options,
  )


for _suffix in _HOMEOSTASIS:
  for _base_name in _BASES:
    for _rule_name, _rule in _RULES.items():
      if _rule.bounded or not _suffix:
        _add(_rule_name, _base_name, _suffix)
