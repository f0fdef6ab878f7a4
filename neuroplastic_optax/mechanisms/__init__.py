"""Plasticity mechanisms of the literature, as Optax transformations.

Each is a pure transformation of updates and params, without activations or
spikes. Each composes with `neuroplastic`, with the others, and with all of
Optax. The docstring of each has its equations, its defaults, and where it
differs from the published program.

*Directions* come before the learning rate, like Optax's `scale_by_*`:

- `scale_by_classp`: weights that have been updated much are updated less
  (CLASSP, [2405.09637](https://arxiv.org/abs/2405.09637)). The threshold is
  compared with elements; the program compares whole tensors.
- `flip_signs`: some neurons learn against the gradient (curl descent,
  [2510.02765](https://arxiv.org/abs/2510.02765)).
- `scale_by_upgd`: useful weights are protected, the others perturbed (UPGD,
  [2404.00781](https://arxiv.org/abs/2404.00781)). The program omits one bias
  correction: `bias_correction=False`; its class steps twice as far: `scale`.
  By `units`, it protects neurons.
- `metaplasticity`: large weights resist being shrunk (Laborieux et al.,
  [2003.03533](https://arxiv.org/abs/2003.03533)).
- `simultaneous_perturbation`: the gradient is estimated from values of the loss
  (SPSA; MeZO, [2305.17333](https://arxiv.org/abs/2305.17333)). It needs the
  loss, as the extra argument `value_fn`.

Directions that add a term to the gradient belong on the raw gradient, first in
a chain:

- `add_consolidation`: important weights are pulled to their running mean (as
  run by the authors of UPGD).
- `elastic_weight_consolidation`: important weights are pulled to those of the
  last task (EWC, [1612.00796](https://arxiv.org/abs/1612.00796); AF-1,
  [2308.14991](https://arxiv.org/abs/2308.14991)). It needs boundaries. The
  importance is measured along the path of training, not at the end of a task.
- `synaptic_intelligence`: the same, with importance from what a weight
  contributed to the fall of the loss (Zenke et al.,
  [1703.04200](https://arxiv.org/abs/1703.04200)). It needs boundaries.
- `regenerate`: weights are pulled to their initial values (L2 Init,
  [2308.11958](https://arxiv.org/abs/2308.11958)). The authors leave out norm
  leaves: `mask`.

*Last* come those that see what is added to the params, after
`optax.scale_by_learning_rate`:

- `exponentiate`: steps are multiplicative and keep signs (Cornford et al.,
  [2024](https://doi.org/10.1101/2024.10.25.620272)).
- `keep_signs`: weights stop at 0 before they change sign.
- `shrink_and_perturb`: weights become smaller and noisy (Ash and Adams,
  [1910.08475](https://arxiv.org/abs/1910.08475)). The learning rate does not
  multiply its numbers, as UPGD's program does. Ash and Adams' program adds
  fresh initial values: `noise="init"`.
- `clip_weights`, with `fan_in_bounds`: weights stay within bounds (Elsayed et
  al., [2407.01704](https://arxiv.org/abs/2407.01704)).
- `sleep`: in phases of sleep, weights that have grown are scaled down. Our
  analogue of an idea of Massey et al.
  ([2601.08447](https://arxiv.org/abs/2601.08447)).
- `hare_and_tortoise`: weights return to their average now and then (Lee et al.,
  [2406.02596](https://arxiv.org/abs/2406.02596)).
- `couple_replicas`: learners are pulled to the mean over a mapped axis (Bouvrie
  and Slotine, 2010).
- `normalize_and_project`: kernels keep their initial norm (Lyle et al.,
  [2407.01800](https://arxiv.org/abs/2407.01800)). The projection alone.

*Wrappers* take other transformations:

- `neural_variability`, the outermost: training is at noisy weights (NVRM,
  [2011.06220](https://arxiv.org/abs/2011.06220)). `refresh` is ours.
- `synergy`: several directions act together. Our equations, after an idea of
  [2508.13673](https://arxiv.org/abs/2508.13673).
- `regenerate_inactive`, around a complete optimizer: weights that get almost no
  gradient are pulled to their initial values. Ours; `inactive_fraction` reads
  how many they are.
- `reset_moments`: moments are forgotten at boundaries or periodically.

`eval_params` gives the params to evaluate with, for `neural_variability` and
`hare_and_tortoise`; `reset_state` resets any optimizer's state, in whole or in
part.

All but `scale_by_classp`, `flip_signs` and `synergy` need the params at
`update`. At a boundary between tasks pass `new_task=True` to `update`, with the
first update of the new task.

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
Mechanisms with noise take a `key`, 0 by default, which their state holds. Lanes
of a `jax.vmap` share their noise unless each has a key of its own, as in
`jax.vmap(lambda key: scale_by_upgd(key=key).init(params))(keys)`.

Under `jit` sharded arrays need nothing, and noise does not depend on how they
are sharded. Inside `shard_map` a mechanism acts on the local part of a leaf,
and all parts get the same noise.
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
from neuroplastic_optax.mechanisms._regenerate_inactive import inactive_fraction
from neuroplastic_optax.mechanisms._regenerate_inactive import (
  regenerate_inactive,
)
from neuroplastic_optax.mechanisms._regenerate_inactive import (
  RegenerateInactiveState,
)
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
  'regenerate_inactive',
  'reset_moments',
  'eval_params',
  'inactive_fraction',
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
  'RegenerateInactiveState',
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
