"""NeuroPlastic, the plasticity-modulated optimizer, for Optax.

`neuroplastic_optimizer` is the complete optimizer, and `neuroplastic` the
transformation in it, which modulates the update of any Optax transformation.
`modulations` has the rules by which it does so, `Homeostasis` and
`LearningRateController` are the stages after them, and `get_diagnostics` reads
what the last update did. `schedules` and `scopes` say when and where plasticity
acts. `mechanisms` has other plasticity mechanisms of the literature, `units`
those that recycle neurons and feature maps, and `measures` what is measured of
them.

Source: Jiang et al., *NeuroPlastic: A Plasticity-Modulated Optimizer for
Biologically Inspired Learning Dynamics*, arXiv:2604.26297 (2026).

## The published variants

All are directions: chain a learning rate after them.

>>> import optax
>>> from neuroplastic_optax import Homeostasis, LearningRateController
>>> from neuroplastic_optax import modulations, neuroplastic, schedules, scopes

The method, its gradient-only ablation, and the warm-up of κ:

>>> tx = neuroplastic()
>>> tx = neuroplastic(gradient_only=True, min_alpha=0.5, max_alpha=1.5)
>>> kappa = schedules.epoch_warmup(2.0, warmup_epochs=2, steps_per_epoch=469)
>>> tx = neuroplastic(plasticity_scale=kappa)

The bounded and the orthogonal variant, and the learning-rate controller:

>>> rule = modulations.Gain(strength=1.0, max_ratio=0.5)
>>> tx = neuroplastic(modulation=rule)
>>> ramp = schedules.late_ramp(0.1, steps_per_epoch=469, epochs=10)
>>> tx = neuroplastic(modulation=modulations.Orthogonal(strength=ramp))
>>> tx = neuroplastic(controller=LearningRateController(gain=0.1))

The hybrids: a gain and a trust ratio over Adam, and plasticity on the momentum
of the base. Over a base there is no homeostasis, unless you pass it:

>>> adam = optax.scale_by_adam()
>>> tx = neuroplastic(adam, modulation=modulations.Gain(strength=0.15))
>>> tx = neuroplastic(adam, modulation=modulations.TrustRatio())
>>> tx = neuroplastic(optax.trace(0.9), modulation=modulations.Momentum())
>>> rule = modulations.Gain()
>>> tx = neuroplastic(adam, modulation=rule, homeostasis=Homeostasis())

Plasticity in some layers, or in a phase of the training:

>>> rule = modulations.Gain(scope=scopes.matching('kernel'))
>>> tx = neuroplastic(optax.scale_by_lion(), modulation=rule)
>>> late = schedules.phase(0.15, 'late', steps_per_epoch=469, epochs=10)
>>> tx = neuroplastic(adam, modulation=modulations.Gain(late))

Any other optimizer can be the base, without its learning rate and minus sign:

>>> muon = optax.chain(optax.contrib.muon(1.0), optax.scale(-1.0))
>>> tx = neuroplastic(muon, modulation=modulations.Gain())

## Large and sharded models

- Sharded params under `jit` need no changes. Statistics are those of whole
  tensors, and only sums travel between devices. `tx.init(params)` places the
  state like the params; set the mesh first, by `jax.set_mesh`, so that counters
  are placed too and the first update is not compiled twice. Under
  `jax.jit(tx.init)` JAX chooses the placement: pass `out_shardings`.
- Inside `shard_map`, `axis_name` says over which mesh axes a tensor is split.
  If the stack of layers itself is split, as in a pipeline, each device holds
  whole tensors and needs no name; its controller and its global diagnostics
  then describe its own layers.
- Scanned layers, ensembles and seeds that are stacked in one tree hold many
  tensors in one leaf: `stacked_axes` gives each its own statistics.
- `state_dtype='bfloat16'` halves the size of the moments. After gradients
  shrink by orders of magnitude, v stays somewhat too large; α, which is
  normalised by means, hardly changes. `'float16'` underflows for small
  gradients.

## Limits

- α does not depend on the scale of the gradients if they are well above `eps`.
  Far below, it falls to `min_alpha`. With the norm clip, a tensor whose
  gradient has a norm above about 2e34 gets no update. NaN stays NaN.
- The RMS gain of homeostasis has almost no effect at its published defaults;
  the norm clip has one.
- With `parameterwise=False`, α is about 1 for the default weights. For leaves
  of one element it is about 1 too.
- `optax.inject_hyperparams` rounds numbers to the dtype of the params: pass it
  `hyperparam_dtype=jnp.float32`. It takes every callable for a schedule: name
  functions such as masks in its `static_args`, or close over them.
"""

from neuroplastic_optax import measures
from neuroplastic_optax import mechanisms
from neuroplastic_optax import modulations
from neuroplastic_optax import schedules
from neuroplastic_optax import scopes
from neuroplastic_optax import units
from neuroplastic_optax._diagnostics import get_diagnostics
from neuroplastic_optax._diagnostics import PerLeaf
from neuroplastic_optax._neuroplastic import neuroplastic
from neuroplastic_optax._optimizer import neuroplastic_optimizer
from neuroplastic_optax._stages import Homeostasis
from neuroplastic_optax._stages import LearningRateController
from neuroplastic_optax._state import NeuroplasticState
from neuroplastic_optax._statistics import Statistics

# In the order of the API reference.
__all__ = (  # noqa: RUF022
  'neuroplastic',
  'neuroplastic_optimizer',
  'modulations',
  'mechanisms',
  'units',
  'measures',
  'Homeostasis',
  'LearningRateController',
  'scopes',
  'schedules',
  'get_diagnostics',
  'NeuroplasticState',
  'PerLeaf',
  'Statistics',
)

# How pdoc is to read docstrings.
__docformat__ = 'google'
