"""By arm, the optimizers that it equals at two weight decays."""

import jax
import jax.numpy as jnp
import optax
from optax import contrib

from experiments import optimizers
from experiments.optimizers import adam_rules
from experiments.optimizers import controls
from experiments.optimizers import m_svag
from experiments.optimizers import muon_direction
from neuroplastic_optax import Homeostasis
from neuroplastic_optax import LearningRateController
from neuroplastic_optax import mechanisms
from neuroplastic_optax import modulations
from neuroplastic_optax import neuroplastic
from neuroplastic_optax import neuroplastic_optimizer
from neuroplastic_optax import schedules as library_schedules

# κ is warm before the early phase ends.
CONTEXT = optimizers.Context(steps_per_epoch=2, epochs=8, warmup_epochs=2)
PARAMS = {
  'a': jnp.array([1.0, -2.0, 0.5, 1.5, -1.0]),
  'b': jnp.array([[3.0, -1.0]]),
  'c': jnp.array([2.0, 1.0]),
}
# Small enough that the norm clip of homeostasis lets it through. The third of
# 'a' is inactive at the default threshold, and active at the lowest.
GRADIENT = {
  'a': jnp.array([0.1, 0.2, -0.01, 0.2, -0.3]),
  'b': jnp.array([[0.2, -0.1]]),
  'c': jnp.array([-0.2, 0.3]),
}
# The published scopes: the last two leaves are the last layer.
FIRST = {'a': True, 'b': False, 'c': False}
LAST = {'a': False, 'b': True, 'c': True}
_KERNELS = {'a': False, 'b': True, 'c': False}


def update(optimizer, gradient, state, params, count):
  """An update; the fourth is the first of a new task."""

  def loss(params):
    products = jax.tree.map(
      lambda g, x: jnp.sum(g * jnp.sin(x)), gradient, params
    )
    return sum(jax.tree.leaves(products))

  return optax.with_extra_args_support(optimizer).update(
    gradient, state, params, new_task=jnp.asarray(count == 3), value_fn=loss
  )


def path(optimizer):
  """The parameters after every step."""

  def step(carry, count):
    params, state = carry
    # All signals of a constant gradient would be the same.
    gradient = jax.tree.map(
      lambda x: jnp.where(count % 2, jnp.flip(x, -1), x), GRADIENT
    )
    updates, state = update(optimizer, gradient, state, params, count)
    params = optax.apply_updates(params, updates)
    return (params, state), params

  return jax.lax.scan(step, (PARAMS, optimizer.init(PARAMS)), jnp.arange(16))[1]


def _l2(optimizer, decay=0.1):
  return optax.chain(optax.add_decayed_weights(decay), optimizer)


def _pair(make, *decays):
  """An arm at its default decay, and at another one."""
  return tuple(make(decay) for decay in decays or (0.0, 0.1))


def _warm(count):
  """κ of CONTEXT, an epoch being two steps: 0, then half, then all of it."""
  return jnp.minimum(count // 2, 2.0)


def _published(**kwargs):
  """An arm of the library's optimizer, at its own κ."""
  return _pair(
    lambda decay: neuroplastic_optimizer(0.01, weight_decay=decay, **kwargs)
  )


def _plastic(**kwargs):
  return _published(plasticity_scale=_warm, **kwargs)


def _adamw(direction, *decays):
  """A direction with a decoupled decay."""
  return _pair(
    lambda decay: optax.chain(
      direction, optax.add_decayed_weights(decay), optax.scale(-0.01)
    ),
    *decays or (0.01, 0.1),
  )


def _hybrid(rule, base, homeostasis):
  """An arm of the grid of rules and bases."""
  kwargs = dict(modulation=rule, homeostasis=homeostasis)
  if base == 'adam':
    return _plastic(
      base=optax.scale_by_adam(), decoupled_weight_decay=True, **kwargs
    )
  if base == 'muon':
    # Its learning rates are 0.02 and 3e-4; a minus takes its own away.
    direction = optax.chain(
      contrib.muon(1.0, adam_learning_rate=0.015), optax.scale(-1.0)
    )
    if isinstance(rule, modulations.Momentum):
      # Muon and its Adam have decays of their own.
      kwargs['modulation'] = modulations.Momentum(
        momentum=muon_direction.momentum
      )
    return _plastic(base=direction, decoupled_weight_decay=True, **kwargs)
  trace = optax.trace(decay=0.9)
  return tuple(
    neuroplastic_optimizer(0.01, base=buffer, plasticity_scale=_warm, **kwargs)
    for buffer in (trace, _l2(trace))
  )


RULES = {
  'direct': modulations.Direct(),
  'gain': modulations.Gain(),
  'momentum': modulations.Momentum(),
  'trust_ratio': modulations.TrustRatio(),
}
HYBRIDS = {
  f'{rule}_{base}{suffix}': _hybrid(RULES[rule], base, homeostasis)
  for suffix, homeostasis in (('', None), ('_homeostasis', Homeostasis()))
  for base in ('sgdm', 'adam', 'muon')
  for rule in RULES
}
HYBRIDS |= {
  f'unit_rms_{base}': _hybrid(modulations.Direct(normalize='norm'), base, None)
  for base in ('sgdm', 'adam', 'muon')
}


def _signals(activity=0.0, gradient=0.0, memory=0.0, **kwargs):
  return _plastic(
    activity_weight=activity,
    gradient_weight=gradient,
    memory_weight=memory,
    **kwargs,
  )


def _gain_adam(*args, **kwargs):
  return _plastic(
    base=optax.scale_by_adam(),
    modulation=modulations.Gain(*args, **kwargs),
    decoupled_weight_decay=True,
  )


def _in_phase(phase):
  return _gain_adam(library_schedules.phase(0.15, phase, 2, 8))


ABLATIONS = {
  'signal_activity': _signals(1.0),
  'signal_gradient': _signals(gradient=1.0),
  'signal_memory': _signals(memory=1.0),
  'signal_activity_gradient': _signals(0.5, 0.5),
  'signal_activity_memory': _signals(2 / 3, memory=1 / 3),
  'signal_gradient_memory': _signals(gradient=2 / 3, memory=1 / 3),
  'gain_adam_early': _in_phase('early'),
  'gain_adam_middle': _in_phase('middle'),
  'gain_adam_late': _in_phase('late'),
  'gain_adam_classifier': _gain_adam(scope=LAST),
  'gain_adam_early_blocks': _gain_adam(scope=FIRST),
  'gain_adam_late_blocks': _gain_adam(scope=FIRST),
  'controlled_classifier': _plastic(
    controller=LearningRateController(scope=LAST)
  ),
  # All of these leaves are of one layer, the model itself.
  'controlled_layer': _plastic(controller=LearningRateController()),
}


def _pulled(part, home=1.0):
  """Adam, whose weights are pulled home where they are, or others, inactive."""

  def init(params):
    zeros = jax.tree.map(jnp.zeros_like, params)
    return _ADAM.init(params), zeros, params

  def one(u, w, s, first):
    inactive = jnp.where(s < 0.1 * s.mean(), 1.0, 0.0)
    return u - 0.01 * part(inactive) * (w - home * first)

  def update(gradient, state, params):
    adam, s, first = state
    updates, adam = _ADAM.update(gradient, adam, params)
    s = jax.tree.map(lambda s, g: 0.95 * s + 0.05 * abs(g), s, gradient)
    updates = jax.tree.map(one, updates, params, s, first)
    return updates, (adam, s, first)

  return optax.GradientTransformation(init, update)


_RATE = optax.scale(-0.01)
_ruled = adam_rules.scale_by_adam_rule
_ADAM = optax.chain(optax.scale_by_adam(), _RATE)


def _before(mechanism):
  """Adam of what a mechanism makes of the gradient."""
  return optax.chain(mechanism, _ADAM)


def _after(mechanism):
  """A mechanism applied to the step of Adam."""
  return optax.chain(_ADAM, mechanism)


MECHANISMS = {
  'classp': optax.chain(mechanisms.scale_by_classp(), _RATE),
  'curl_descent': optax.chain(mechanisms.flip_signs(), _RATE),
  'upgd': optax.chain(mechanisms.scale_by_upgd(), _RATE),
  'consolidation': _before(mechanisms.add_consolidation()),
  'memory_aware': _before(mechanisms.add_consolidation(importance='mas')),
  'ewc': _before(mechanisms.elastic_weight_consolidation(100.0)),
  'synaptic_intelligence': _before(mechanisms.synaptic_intelligence()),
  'spsa': optax.chain(mechanisms.simultaneous_perturbation(0.01), _RATE),
  'l2_init': _before(mechanisms.regenerate()),
  'metaplasticity': optax.chain(
    optax.scale_by_adam(), mechanisms.metaplasticity(), _RATE
  ),
  'exponentiated_gradient': optax.chain(
    _RATE, mechanisms.exponentiate(_KERNELS)
  ),
  'kept_signs': _after(mechanisms.keep_signs(_KERNELS)),
  'shrink_and_perturb': _after(mechanisms.shrink_and_perturb()),
  'weight_clipping': _after(mechanisms.clip_weights(2.0)),
  'sleep': _after(mechanisms.sleep(2)),
  'hare_and_tortoise': _after(mechanisms.hare_and_tortoise(0.99, period=2)),
  'normalize_and_project': _after(mechanisms.normalize_and_project()),
  'neural_variability': mechanisms.neural_variability(_ADAM),
  'synergy': optax.chain(
    mechanisms.synergy(
      {'adam': optax.scale_by_adam(), 'plastic': neuroplastic()}, 'adaptive'
    ),
    _RATE,
  ),
  'adam_reset': optax.chain(
    mechanisms.reset_moments(optax.scale_by_adam(), 2), _RATE
  ),
  'regenerate_inactive_sgd': mechanisms.regenerate_inactive(_RATE),
  'regenerate_inactive': mechanisms.regenerate_inactive(_ADAM),
  'regenerate_inactive_muon': mechanisms.regenerate_inactive(
    contrib.muon(0.01, adam_learning_rate=1.5e-4)
  ),
  # As often as a test can see.
  'swr': mechanisms.regenerate_inactive(
    _ADAM, 1.0, decay=0.99, utility='contribution', to='fresh', every=4
  ),
  'regenerate_evenly': _pulled(jnp.mean),
  # Two of five, and none of two.
  'regenerate_misplaced': _pulled(lambda x: jnp.roll(x, 2 * (x.size > 2))),
  'regenerate_to_zero': _pulled(lambda inactive: inactive, home=0.0),
}
_NO_CLIP = Homeostasis(max_update_norm=None)
_UNIT_RMS = modulations.Direct(normalize='norm')
_UNIT_MEAN = modulations.Direct(normalize='mean')
_ABLATION = dict(gradient_only=True, min_alpha=0.5, max_alpha=1.5)
ARMS = {
  **ABLATIONS,
  # They have no decay.
  **{name: (tx, tx) for name, tx in MECHANISMS.items()},
  **HYBRIDS,
  'full': _plastic(),
  'neuroplastic': _published(),
  'gradient_only': _published(**_ABLATION),
  'gradient_only_same_range': _published(gradient_only=True),
  'bfloat16_moments': _plastic(state_dtype='bfloat16'),
  'controlled': _plastic(controller=LearningRateController()),
  'bounded': _plastic(modulation=modulations.Gain(1.0, 0.5)),
  'orthogonal': _plastic(modulation=modulations.Orthogonal()),
  'unit_mean': _plastic(modulation=_UNIT_MEAN),
  'unit_rms': _plastic(modulation=_UNIT_RMS),
  'shuffled': _plastic(modulation=controls.Shuffled()),
  'mean_of_gradient_only': _plastic(modulation=controls.MeanOfGradientOnly()),
  'full_no_clip': _plastic(homeostasis=_NO_CLIP),
  'gradient_only_no_clip': _published(**_ABLATION, homeostasis=_NO_CLIP),
  'memory_only_no_clip': _signals(memory=1.0, homeostasis=_NO_CLIP),
  **{
    f'{name}_no_clip': _plastic(modulation=rule, homeostasis=_NO_CLIP)
    for name, rule in (
      *(('unit_mean', _UNIT_MEAN), ('unit_rms', _UNIT_RMS)),
      ('shuffled', controls.Shuffled()),
      ('unit_rms_shuffled', controls.ShuffledUnitRms()),
    )
  },
  **{
    f'unit_rms_{signal}_no_clip': _signals(
      **{signal: 1.0}, modulation=_UNIT_RMS, homeostasis=_NO_CLIP
    )
    for signal in ('activity', 'gradient', 'memory')
  },
  'sgd': (optax.sgd(0.01), _l2(optax.sgd(0.01))),
  'sgdm': (optax.sgd(0.01, 0.9), _l2(optax.sgd(0.01, 0.9))),
  'adam': (optax.adam(0.01), _l2(optax.adam(0.01))),
  'adamw': _adamw(optax.scale_by_adam()),
  'nadamw': _adamw(optax.scale_by_adam(nesterov=True)),
  'cautious_adamw': _adamw(_ruled(adam_rules.cautious)),
  'grams': _adamw(_ruled(adam_rules.grams)),
  'mgup': _adamw(_ruled(adam_rules.mgup, eps=1e-6), 0.0, 0.1),
  'adabelief': _adamw(optax.scale_by_belief(), 0.0, 0.1),
  'lion': (optax.lion(0.01), optax.lion(0.01, weight_decay=0.1)),
  'm_svag': _pair(
    lambda decay: _l2(optax.chain(m_svag.scale_by_m_svag(0.9), _RATE), decay)
  ),
  'muon': _pair(
    lambda decay: contrib.muon(
      0.01,
      adam_learning_rate=1.5e-4,
      weight_decay=decay,
      adam_weight_decay=decay,
    )
  ),
  'prodigy': _pair(lambda decay: contrib.prodigy(0.01, weight_decay=decay)),
  'schedule_free': _pair(
    lambda decay: contrib.schedule_free_adamw(0.01, weight_decay=decay)
  ),
}
