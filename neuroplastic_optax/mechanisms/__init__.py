"""Plasticity mechanisms of the literature, as Optax transformations.

Whatever can be said as a pure transformation of updates and params, without
activations or spikes. Each composes with `neuroplastic`, with the others, and
with all of Optax. There are three places in a chain:

- *Directions* come before the learning rate, like Optax's `scale_by_*`:
  `scale_by_classp`, `flip_signs`, `scale_by_upgd`, `add_consolidation`,
  `elastic_weight_consolidation`, `synaptic_intelligence`, `regenerate`,
  `metaplasticity`, `simultaneous_perturbation`. Those that add a term to the
  gradient (`add_consolidation`, `elastic_weight_consolidation`,
  `synaptic_intelligence`, `regenerate`) belong on the raw gradient, first.
- *Last* come those that see what is added to the params, after
  `optax.scale_by_learning_rate`: `exponentiate`, `keep_signs`,
  `shrink_and_perturb`, `clip_weights` (with `fan_in_bounds`), `sleep`,
  `hare_and_tortoise`, `couple_replicas`, `normalize_and_project`.
- *Wrappers* take an inner transformation: `neural_variability`, `synergy`,
  `reset_moments`.

`eval_params` gives the params to evaluate with, for `neural_variability` and
`hare_and_tortoise`; `reset_state` resets any optimizer's state, in whole or in
part.

With `neuroplastic`, a direction can be the base, whose update α modulates, or
come after it. `flip_signs` belongs after it, since |g| forgets signs. Three
such chains:

    >>> import optax
    >>> from neuroplastic_optax import mechanisms, modulations, neuroplastic

    UPGD as the base, its update modulated by α, then bounded weights:

    >>> protected = optax.chain(
    ...   neuroplastic(
    ...     mechanisms.scale_by_upgd(), modulation=modulations.Gain()
    ...   ),
    ...   optax.scale_by_learning_rate(0.1),
    ...   mechanisms.clip_weights(mechanisms.fan_in_bounds(scale=3.0)),
    ... )

    A pull to the initial params on the raw gradient, then NeuroPlastic, then
    curl descent:

    >>> curled = optax.chain(
    ...   mechanisms.regenerate(1e-3),
    ...   neuroplastic(),
    ...   mechanisms.flip_signs(fraction=0.05, axis='output'),
    ...   optax.scale_by_learning_rate(0.1),
    ... )

    Adam and NeuroPlastic together, with weights that keep their sign, trained
    under noise:

    >>> noisy = mechanisms.neural_variability(
    ...   optax.chain(
    ...     mechanisms.synergy(
    ...       {'adam': optax.scale_by_adam(), 'plastic': neuroplastic()},
    ...       assignment='adaptive',
    ...     ),
    ...     optax.scale_by_learning_rate(0.01),
    ...     mechanisms.exponentiate(),
    ...   ),
    ...   scale=1e-3,
    ... )

Accumulators, anchors and averages are at least float32, whatever the dtype of
the params; updates keep their dtype. Finite numbers that no longer fit become
the largest. Numbers may be Python or NumPy numbers, JAX arrays or tracers, and,
where it is said, schedules of the update count, which is 0 at the first update.
Noise does not depend on how params are sharded under `jit`.
"""

from neuroplastic_optax.mechanisms._add_consolidation import add_consolidation
from neuroplastic_optax.mechanisms._add_consolidation import (
  AddConsolidationState,
)
from neuroplastic_optax.mechanisms._classp import scale_by_classp
from neuroplastic_optax.mechanisms._classp import ScaleByClasspState
from neuroplastic_optax.mechanisms._clip_weights import clip_weights
from neuroplastic_optax.mechanisms._clip_weights import ClipWeightsState
from neuroplastic_optax.mechanisms._couple_replicas import couple_replicas
from neuroplastic_optax.mechanisms._couple_replicas import CoupleReplicasState
from neuroplastic_optax.mechanisms._elastic_weight_consolidation import (
  elastic_weight_consolidation,
)
from neuroplastic_optax.mechanisms._elastic_weight_consolidation import (
  ElasticWeightConsolidationState,
)
from neuroplastic_optax.mechanisms._eval_params import eval_params
from neuroplastic_optax.mechanisms._exponentiate import exponentiate
from neuroplastic_optax.mechanisms._exponentiate import ExponentiateState
from neuroplastic_optax.mechanisms._fan_in_bounds import fan_in_bounds
from neuroplastic_optax.mechanisms._flip_signs import flip_signs
from neuroplastic_optax.mechanisms._flip_signs import FlipSignsState
from neuroplastic_optax.mechanisms._hare_and_tortoise import hare_and_tortoise
from neuroplastic_optax.mechanisms._hare_and_tortoise import (
  HareAndTortoiseState,
)
from neuroplastic_optax.mechanisms._keep_signs import keep_signs
from neuroplastic_optax.mechanisms._metaplasticity import metaplasticity
from neuroplastic_optax.mechanisms._metaplasticity import MetaplasticityState
from neuroplastic_optax.mechanisms._neural_variability import neural_variability
from neuroplastic_optax.mechanisms._neural_variability import (
  NeuralVariabilityState,
)
from neuroplastic_optax.mechanisms._normalize_and_project import (
  normalize_and_project,
)
from neuroplastic_optax.mechanisms._normalize_and_project import (
  NormalizeAndProjectState,
)
from neuroplastic_optax.mechanisms._regenerate import regenerate
from neuroplastic_optax.mechanisms._regenerate import RegenerateState
from neuroplastic_optax.mechanisms._reset_moments import reset_moments
from neuroplastic_optax.mechanisms._reset_moments import ResetMomentsState
from neuroplastic_optax.mechanisms._reset_state import reset_state
from neuroplastic_optax.mechanisms._shrink_and_perturb import shrink_and_perturb
from neuroplastic_optax.mechanisms._shrink_and_perturb import (
  ShrinkAndPerturbState,
)
from neuroplastic_optax.mechanisms._simultaneous_perturbation import (
  simultaneous_perturbation,
)
from neuroplastic_optax.mechanisms._simultaneous_perturbation import (
  SimultaneousPerturbationState,
)
from neuroplastic_optax.mechanisms._sleep import sleep
from neuroplastic_optax.mechanisms._sleep import SleepState
from neuroplastic_optax.mechanisms._synaptic_intelligence import (
  synaptic_intelligence,
)
from neuroplastic_optax.mechanisms._synaptic_intelligence import (
  SynapticIntelligenceState,
)
from neuroplastic_optax.mechanisms._synergy import synergy
from neuroplastic_optax.mechanisms._synergy import SynergyState
from neuroplastic_optax.mechanisms._upgd import scale_by_upgd
from neuroplastic_optax.mechanisms._upgd import ScaleByUpgdState

# In the order of the API reference: directions, last, wrappers, functions,
# states.
__all__ = (  # noqa: RUF022
  'scale_by_classp',
  'flip_signs',
  'scale_by_upgd',
  'add_consolidation',
  'elastic_weight_consolidation',
  'synaptic_intelligence',
  'regenerate',
  'metaplasticity',
  'simultaneous_perturbation',
  'exponentiate',
  'keep_signs',
  'shrink_and_perturb',
  'clip_weights',
  'fan_in_bounds',
  'sleep',
  'hare_and_tortoise',
  'couple_replicas',
  'normalize_and_project',
  'neural_variability',
  'synergy',
  'reset_moments',
  'eval_params',
  'reset_state',
  'AddConsolidationState',
  'ClipWeightsState',
  'CoupleReplicasState',
  'ElasticWeightConsolidationState',
  'ExponentiateState',
  'FlipSignsState',
  'HareAndTortoiseState',
  'MetaplasticityState',
  'NeuralVariabilityState',
  'NormalizeAndProjectState',
  'RegenerateState',
  'ResetMomentsState',
  'ScaleByClasspState',
  'ScaleByUpgdState',
  'ShrinkAndPerturbState',
  'SimultaneousPerturbationState',
  'SleepState',
  'SynapticIntelligenceState',
  'SynergyState',
)
__docformat__ = 'google'
