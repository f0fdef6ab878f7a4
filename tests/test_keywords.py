"""A keyword that does not exist: the one that was meant is suggested."""

import dataclasses
import inspect

import optax
import pytest

import neuroplastic_optax
from neuroplastic_optax import Homeostasis
from neuroplastic_optax import LearningRateController
from neuroplastic_optax import mechanisms
from neuroplastic_optax import modulations
from neuroplastic_optax import neuroplastic
from neuroplastic_optax import neuroplastic_optimizer
from neuroplastic_optax import schedules
from neuroplastic_optax import scopes
from tests.settings import inject

BOTH = [
  ('b1', 'memory_b1'),
  ('b2', 'memory_b2'),
  ('beta2', 'memory_b2'),
  ('rho', 'activity_decay'),
  ('kappa', 'plasticity_scale'),
  ('kapa', 'plasticity_scale'),
  ('scale', 'plasticity_scale'),
  ('alpha_min', 'min_alpha'),
  ('max_alhpa', 'max_alpha'),
  ('wd', 'weight_decay'),
  ('Weight_Decay', 'weight_decay'),
  ('mask', 'weight_decay_mask'),
  ('epsilon', 'eps'),
  ('dtype', 'state_dtype'),
  ('homoeostasis', 'homeostasis'),
  ('diagnostic', 'diagnostics'),
  ('stack_axes', 'stacked_axes'),
]
MEANT = [
  *((neuroplastic, *pair) for pair in BOTH),
  *((neuroplastic_optimizer, *pair) for pair in BOTH),
  (neuroplastic_optimizer, 'lr', 'learning_rate'),
  (neuroplastic_optimizer, 'learning_rat', 'learning_rate'),
  (neuroplastic_optimizer, 'decoupled', 'decoupled_weight_decay'),
  (inject, 'lr', 'learning_rate'),
  (inject, 'kappa', 'plasticity_scale'),
  (Homeostasis, 'max_norm', 'max_update_norm'),
  (Homeostasis, 'target_rsm', 'target_rms'),
  (Homeostasis, 'tau', 'target_rms'),
  (LearningRateController, 'gamma', 'gain'),
  (LearningRateController, 'group', 'groups'),
  (modulations.Direct, 'mean', 'unit_mean'),
  (modulations.Gain, 'strenght', 'strength'),
  (modulations.Gain, 'ratio', 'max_ratio'),
  (modulations.TrustRatio, 'Strength', 'strength'),
  (modulations.Momentum, 'momentums', 'momentum'),
  (modulations.Orthogonal, 'match', 'match_gradient_norm'),
  (schedules.phase, 'phase', 'name'),
  (schedules.late_ramp, 'epochss', 'epochs'),
  (schedules.epoch_warmup, 'warmup', 'warmup_epochs'),
  (scopes.classifier, 'ordre', 'order'),
]


@pytest.mark.parametrize(('function', 'keyword', 'meant'), MEANT)
def test_the_near_name_is_suggested(function, keyword, meant):
  message = rf"unexpected keyword argument '{keyword}': did you mean '{meant}'"
  with pytest.raises(TypeError, match=message):
    function(**{keyword: 0.5})


@pytest.mark.parametrize(
  ('keyword', 'owner'),
  [
    ('lr', 'learning_rate is an argument of neuroplastic_optimizer'),
    ('target_rms', 'target_rms is an argument of Homeostasis'),
    ('gain', 'gain is an argument of LearningRateController'),
    ('max_ratio', 'max_ratio is an argument of Gain, '),
  ],
)
def test_an_argument_of_something_else_is_said_to_be_that(keyword, owner):
  with pytest.raises(TypeError, match=f"'{keyword}': {owner}"):
    neuroplastic(**{keyword: 0.5})


MODULES = [schedules, scopes, modulations, mechanisms]


@pytest.mark.parametrize('module', MODULES)
def test_no_function_is_forgotten(module):
  others = {'Modulation', 'Residual', 'Tensor', 'number', 'switch'}
  for name in {*module.__all__} - others:
    if name.endswith('State'):
      continue
    with pytest.raises(TypeError, match="'zyx': the arguments are "):
      getattr(module, name)(zyx=1)


def test_without_a_near_name_all_are_listed():
  message = "'foo': the arguments are strength, max_ratio and scope"
  with pytest.raises(TypeError, match=message):
    modulations.Gain(foo=1)
  with pytest.raises(TypeError, match="'nesterov': the arguments are base, "):
    neuroplastic(nesterov=True)


def test_a_rule_of_a_users_own_and_replace_suggest_too():
  @dataclasses.dataclass(frozen=True)
  class Mine(modulations.Modulation):
    ardour: float = modulations.number(default=1.0)

    def modulate(self, tensor):
      return tensor.base_update

  with pytest.raises(TypeError, match=r"Mine\(\) .*did you mean 'ardour'"):
    Mine(ardor=2.0)
  with pytest.raises(TypeError, match="did you mean 'ardour'"):
    dataclasses.replace(Mine(), arduor=2.0)
  # It is no argument of the library's.
  with pytest.raises(TypeError, match="'ardour': the arguments are"):
    neuroplastic(ardour=2.0)


def test_signatures_stay_spelt_out():
  for function in (
    neuroplastic, neuroplastic_optimizer, Homeostasis, LearningRateController,
    modulations.Gain, schedules.phase, scopes.matching,
  ):  # fmt: skip
    kinds = {p.kind for p in inspect.signature(function).parameters.values()}
    assert not kinds & {
      inspect.Parameter.VAR_KEYWORD, inspect.Parameter.VAR_POSITIONAL,
    }  # fmt: skip
  assert neuroplastic.__name__ == 'neuroplastic'
  assert neuroplastic.__module__.startswith(neuroplastic_optax.__name__)
  with pytest.raises(ValueError, match='static_args'):
    optax.inject_hyperparams(neuroplastic, static_args='kappa')
