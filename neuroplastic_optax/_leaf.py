"""One leaf's update: the stages in their order, and all casts.

    signals → α → modulation → decay → homeostasis → controller

`remember` updates the moments. Before the controller can speak it has to hear
every leaf of a group, so that two functions do the rest: `propose` up to there,
`finish` from there. What a tree is, only `_transform` knows.
"""

from collections.abc import Callable, Hashable
import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from neuroplastic_optax import _coefficient
from neuroplastic_optax import _controller
from neuroplastic_optax import _diagnostics
from neuroplastic_optax import _dtypes
from neuroplastic_optax import _homeostasis
from neuroplastic_optax import _numbers
from neuroplastic_optax import _reductions
from neuroplastic_optax import _signals
from neuroplastic_optax import _slices
from neuroplastic_optax import _tensor
from neuroplastic_optax import modulations


class Plan(NamedTuple):
  """What is done to one leaf; static, but for `target_rms_scale`."""

  modulate: bool  # Whether it is in the modulation's scope.
  decay: bool
  group: Hashable  # Its group for the controller; None outside the scope.
  target_rms_scale: Any  # c, of homeostasis.
  stacked_axes: int
  axis_name: tuple[str, ...] | None


class Inputs(NamedTuple):
  """One leaf, in its own dtypes; None for what is not needed.

  The moments are those before this update; for `propose`, those after it.
  """

  gradient: Any
  base_update: Any
  parameter: Any
  momentum: Any
  moments: _signals.Moments | None  # None in gradient-only mode.


class Proposal(NamedTuple):
  """One leaf's update before the controller has spoken."""

  update: Any  # At least float32.
  log_ratio: jax.Array | None  # ℓ, what the controller wants to hear.
  measured: _diagnostics.Statistics | None  # Where they are wanted.


class Stages(NamedTuple):
  """How every leaf is updated, but for the controller."""

  numbers: _numbers.Numbers
  modulation: modulations.Modulation
  homeostasis: _homeostasis.Homeostasis | None
  parameterwise: bool

  @property
  def decays(self) -> bool:
    """Whether there is a coupled decay; not if it is known to be 0."""
    return not _numbers.is_zero(self.numbers.weight_decay)

  def at(self, count: jax.Array) -> 'Stages':
    """These stages at update `count`, with the values of their schedules."""
    return self._map(lambda stage: stage.at(count))

  def cast(self, dtype: Any) -> 'Stages':
    """These stages with numbers ready for arithmetic in `dtype`."""
    return self._map(lambda stage: stage.cast(dtype))

  def _map(self, function: Callable[[Any], Any]) -> 'Stages':
    return Stages(
      function(self.numbers),
      function(self.modulation),
      None if self.homeostasis is None else function(self.homeostasis),
      self.parameterwise,
    )


def zero_moments(
  leaf: Any, state_dtype: Any, numbers: _numbers.Numbers
) -> _signals.Moments:
  """The moments of one leaf before the first update.

  Args:
    leaf: the param; None for None.
    state_dtype: the dtype asked for; None for that of the param.
    numbers: the decays, of which the dtype of a moment may depend.

  Returns:
    Zeros of the leaf's shape and sharding.
  """

  def zeros(decay: Any, *, real: bool) -> Any:
    if leaf is None:
      return None
    dtype = jnp.result_type(leaf)
    if real:
      dtype = _dtypes.real_dtype(dtype)
    known = float(decay) if _numbers.is_known(decay) else None
    kept = _dtypes.accumulator_dtype(state_dtype, known)
    # The dtype is given so that no state is weakly typed.
    return jnp.zeros_like(leaf, dtype=_dtypes.moment_dtype(dtype, kept))

  return _signals.Moments(
    activity=zeros(numbers.activity_decay, real=True),
    mu=zeros(numbers.memory_b1, real=False),
    nu=zeros(numbers.memory_b2, real=True),
  )


def remember(inputs: Inputs, stages: Stages) -> Inputs:
  """The leaf with its moments after this update, in at least float32."""
  if _is_absent(inputs.gradient) or inputs.moments is None:
    return inputs
  dtype = _compute_dtype(inputs)
  numbers = stages.numbers.cast(dtype)
  moments = _signals.update_moments(
    _dtypes.upcast(jnp.asarray(inputs.gradient), dtype),
    _dtypes.upcast(inputs.moments, dtype),
    numbers.activity_decay,
    numbers.memory_b1,
    numbers.memory_b2,
  )
  return inputs._replace(moments=moments)


def stored(
  moments: _signals.Moments | None, like: _signals.Moments | None
) -> _signals.Moments | None:
  """Moments in the dtypes of those that they replace."""
  return jax.tree.map(_dtypes.downcast, moments, like)


def propose(
  inputs: Inputs, plan: Plan, stages: Stages, *, measure: bool
) -> Proposal:
  """The update of one leaf, up to the controller.

  Args:
    inputs: the leaf.
    plan: what is done to it.
    stages: how, with schedules resolved.
    measure: whether the diagnostics want to know of it.

  Returns:
    The proposal. A leaf that is None or empty is left as it is.
  """
  if _is_absent(inputs.gradient):
    return Proposal(inputs.base_update, None, None)
  if not plan.modulate:  # Whatever there is may not fit the leaf.
    inputs = inputs._replace(momentum=None)
  arrays = jax.tree.map(jnp.asarray, inputs)
  one = functools.partial(
    _propose_slice, plan=plan, stages=stages, measure=measure
  )
  return _slices.over_slices(one, plan.stacked_axes)(arrays)


def finish(proposal: Proposal, multiplier: jax.Array | None, like: Any) -> Any:
  """The update of one leaf, from the controller on.

  Args:
    proposal: what came before.
    multiplier: what the controller multiplies the update by, a scalar; None
      for 1.
    like: the base's update, whose dtype the update gets.

  Returns:
    The update.
  """
  update = proposal.update
  if update is None:
    return None
  if multiplier is not None:
    update = _dtypes.times(multiplier, update)
  return _dtypes.downcast(update, jnp.asarray(like))


def _propose_slice(
  inputs: Inputs, plan: Plan, stages: Stages, *, measure: bool
) -> Proposal:
  """The proposal of one tensor that has at least one element."""
  dtype = _compute_dtype(inputs)
  numbers, modulation, homeostasis, parameterwise = stages.cast(dtype)
  wide = _dtypes.upcast(inputs, dtype)
  tensor = _seen(
    wide,
    numbers,
    _reductions.Reductions(plan.axis_name),
    parameterwise=parameterwise,
  )
  u = modulated = _modulated(modulation, tensor, plan.modulate)
  if plan.decay:
    u = u + _dtypes.times(numbers.weight_decay, wide.parameter)
  raw_update = u
  factor: Any = 1.0
  if homeostasis is not None:
    factor = _homeostasis.factor(
      tensor.norm(u),
      tensor.reductions.size(u),
      homeostasis,
      _numbers.POSITIVE.cast(plan.target_rms_scale, dtype),
      numbers.eps,
    )
    u = _homeostasis.scaled(u, factor)
  log_ratio = measured = None
  if plan.group is not None:
    log_ratio = _controller.log_ratio(tensor)
  if measure:
    measured = _diagnostics.measure(
      _diagnostics.Sample(
        tensor,
        modulated,
        raw_update,
        factor,
        numbers.min_alpha,
        numbers.max_alpha,
      )
    )
  return Proposal(u, log_ratio, measured)


def _is_absent(gradient: Any) -> bool:
  """Whether a leaf is None or empty."""
  return gradient is None or 0 in jnp.shape(gradient)


def _compute_dtype(inputs: Inputs) -> Any:
  return _dtypes.compute_dtype(
    (inputs.gradient, inputs.base_update, inputs.moments)
  )


def _modulated(
  modulation: modulations.Modulation, tensor: _tensor.Tensor, inside: bool
) -> jax.Array:
  """The update that the rule makes; b outside its scope.

  Raises:
    ValueError: a rule of a user's own returns another shape, which would be
      broadcast over the parameter.
  """
  if not inside:
    return tensor.base_update
  update = modulation.modulate(tensor)
  wanted = jnp.shape(tensor.base_update)
  if update is None or jnp.shape(update) != wanted:
    found = 'None' if update is None else f'shape {jnp.shape(update)}'
    raise ValueError(
      f'{type(modulation).__name__}.modulate must return an array of the shape '
      f'of tensor.base_update, {wanted}, got {found}.'
    )
  return update


def _seen(
  wide: Inputs,
  numbers: _numbers.Numbers,
  reductions: _reductions.Reductions,
  *,
  parameterwise: bool,
) -> _tensor.Tensor:
  """What the rule sees of a tensor, given its moments after this update."""
  alpha, alpha_gradient, mean_magnitude = _coefficient.coefficients(
    wide.gradient,
    wide.moments,
    numbers,
    reductions,
    parameterwise=parameterwise,
  )
  return _tensor.Tensor(
    base_update=wide.base_update,
    gradient=wide.gradient,
    alpha=alpha,
    alpha_gradient=alpha_gradient,
    parameter=wide.parameter,
    momentum=wide.momentum,
    eps=numbers.eps,
    reductions=reductions,
    norm_scale=_reductions.norm_scale(mean_magnitude),
  )
