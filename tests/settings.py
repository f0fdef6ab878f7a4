"""Settings that more than one file of tests goes through."""

import optax
import pytest

from neuroplastic_optax import modulations
from neuroplastic_optax import neuroplastic_optimizer


def mostly_slow(argument, cases, *fast):
  """Parametrizes by the cases of a dictionary; all but some are slow."""
  return pytest.mark.parametrize(
    argument,
    [
      pytest.param(
        case, id=name, marks=[] if name in fast else pytest.mark.slow
      )
      for name, case in cases.items()
    ],
  )


NEUTRAL = dict(min_alpha=1.0, max_alpha=1.0, homeostasis=None)

SETTINGS = {
  'default': {},
  'gradient_only': dict(gradient_only=True),
  'adam': dict(base=optax.scale_by_adam(), weight_decay=0.01),
}
every_setting = pytest.mark.parametrize(
  'settings',
  [
    SETTINGS['default'],
    SETTINGS['adam'],
    pytest.param(SETTINGS['gradient_only'], marks=pytest.mark.slow),
  ],
  ids=['default', 'adam', 'gradient_only'],
)

RULES = {
  'direct': modulations.Direct(),
  'mean': modulations.Direct(normalize='mean'),
  'norm': modulations.Direct(normalize='norm'),
  'gain': modulations.Gain(strength=0.6),
  'bounded': modulations.Gain(strength=1.0, max_ratio=0.1),
  'momentum': modulations.Momentum(strength=0.6),
  'trust_ratio': modulations.TrustRatio(strength=0.9),
  'orthogonal': modulations.Orthogonal(strength=0.5),
  'matched': modulations.Orthogonal(strength=0.7, match_gradient_norm=True),
}

inject = optax.inject_hyperparams(neuroplastic_optimizer)
