"""Plasticity of units: neurons and feature maps that begin anew.

A *unit* is a neuron of a dense layer or a feature map of a convolution. Methods
against loss of plasticity find units that no longer help, give them fresh
incoming weights and cut their outgoing ones. Here each is a rule, which
`recycle` wraps around any optimizer.

A `Layer` says which leaves belong to its units. `chain` makes them for plain
networks, and `check` finds out by experiment whether they are right.

| rule | recycles | source |
|---|---|---|
| `Redo` | dormant units | [2302.12902](https://arxiv.org/abs/2302.12902) |
| `GradientMagnitude` | units with small gradients | ReGraMa,
[2505.24061](https://arxiv.org/abs/2505.24061) |
| `ContinualBackprop` | the least useful mature units |
[2306.13812](https://arxiv.org/abs/2306.13812) |
| `SelfNormalized` | units that are silent for unusually long |
[2410.20098](https://arxiv.org/abs/2410.20098) |
| `CalibratedPartial` | a share of all | its authors' program |
| `RandomUnits` | random ones: the control | |

Each docstring says what the authors' program does differently. A rule of your
own derives from `Rule` and gets what is `Seen` of a layer. Two layers, and Adam
that recycles their dormant units:

    >>> import jax.numpy as jnp
    >>> import optax
    >>> from neuroplastic_optax import units
    >>> params = {'dense': jnp.ones((3, 4)), 'head': jnp.ones((4, 2))}
    >>> layers = units.chain(params, ['dense', 'head'])
    >>> tx = units.recycle(optax.adam(1e-3), layers, units.Redo())

`mechanisms.scale_by_upgd(units=layers)` is UPGD by units;
`neuroplastic_optax.measures` has what is measured of them.
"""

from neuroplastic_optax._layers import chain
from neuroplastic_optax._layers import Layer
from neuroplastic_optax.units._adam import scale_by_adam
from neuroplastic_optax.units._adam import ScaleByAdamState
from neuroplastic_optax.units._check import check
from neuroplastic_optax.units._recycle import recycle
from neuroplastic_optax.units._recycle import recycled
from neuroplastic_optax.units._recycle import RecycleState
from neuroplastic_optax.units._rule import Rule
from neuroplastic_optax.units._rule import Seen
from neuroplastic_optax.units._rules import CalibratedPartial
from neuroplastic_optax.units._rules import ContinualBackprop
from neuroplastic_optax.units._rules import ContinualBackpropState
from neuroplastic_optax.units._rules import GradientMagnitude
from neuroplastic_optax.units._rules import RandomUnits
from neuroplastic_optax.units._rules import Redo
from neuroplastic_optax.units._rules import SelfNormalized
from neuroplastic_optax.units._rules import SelfNormalizedState

# In the order of the API reference.
__all__ = (  # noqa: RUF022
  'Layer',
  'chain',
  'check',
  'recycle',
  'recycled',
  'Redo',
  'GradientMagnitude',
  'ContinualBackprop',
  'SelfNormalized',
  'CalibratedPartial',
  'RandomUnits',
  'Rule',
  'Seen',
  'scale_by_adam',
  'ContinualBackpropState',
  'RecycleState',
  'ScaleByAdamState',
  'SelfNormalizedState',
)
__docformat__ = 'google'
