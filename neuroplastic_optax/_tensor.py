"""One update of one parameter tensor: signals → α → modulation → homeostasis.

Pure functions of arrays; what a tree is, only `_transform` knows.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from neuroplastic_optax import _coefficient
from neuroplastic_optax import _controller
from neuroplastic_optax import _diagnostics
from neuroplastic_optax import _dtypes
from neuroplastic_optax import _homeostasis
from neuroplastic_optax import _hyperparameters
from neuroplastic_optax import _reductions
from neuroplastic_optax import _settings
from neuroplastic_optax import _signals
from neuroplastic_optax import modulations


class Inputs(NamedTuple):
  """One tensor, in its own dtypes; None for what is not needed."""

  gradient: jax.Array
  base_update: jax.Array
  param: jax.Array | None
  momentum: jax.Array | None
  moments: _signals.Moments | None  # None in gradient-only mode.


class Switches(NamedTuple):
  """What is done to the tensor at all; static."""

  modulate: bool  # Whether it is in the modulation's scope.
  decay: bool
  control: bool  # Whether the controller wants its signal.
  diagnose: bool


class Outputs(NamedTuple):
  """What came of it."""

  update: jax.Array  # At least float32; the controller is yet to act.
  moments: _signals.Moments | None  # In their own dtypes.
  signal: jax.Array | None  # ℓ, what the controller wants to know.
  statistics: _diagnostics.Statistics | None

  def multiplied(self, multiplier: jax.Array) -> 'Outputs':
    """These outputs with the step multiplied, as the controller wants."""
    statistics = self.statistics
    if statistics is not None:
      kept = statistics.update_norm
      statistics = statistics._replace(
        update_norm=kept * multiplier.astype(kept.dtype),
        controller_multiplier=jnp.broadcast_to(
          multiplier.astype(kept.dtype), kept.shape
        ),
      )
    update_ = self.update * multiplier.astype(self.update.real.dtype)
    return self._replace(update=update_, statistics=statistics)


def update(
  inputs: Inputs,
  rule: _settings.Rule,
  switches: Switches,
  target_rms_scale: Any,
  reductions: _reductions.Reductions,
) -> Outputs:
  """Updates one tensor that has at least one element.

  Args:
    inputs: the tensor.
    rule: what to do, with its schedules resolved.
    switches: what to leave out.
    target_rms_scale: c, of homeostasis.
    reductions: the sums over the tensor.

  Returns:
    The outputs.
  """
  dtype = _dtypes.compute_dtype(
    (inputs.gradient, inputs.base_update, inputs.moments)
  )
  settings, modulation, homeostasis = rule.cast(dtype)
  wide = _dtypes.upcast(inputs, dtype)
  moments = None
  if wide.moments is not None:
    moments = _signals.update_moments(
      wide.gradient,
      wide.moments,
      settings.activity_decay,
      settings.memory_b1,
      settings.memory_b2,
    )
  alpha, alpha_gradient, magnitude = _coefficients(
    wide.gradient, moments, settings, reductions
  )
  tensor = modulations.Tensor(
    base_update=wide.base_update,
    gradient=wide.gradient,
    alpha=alpha,
    alpha_gradient=alpha_gradient,
    parameter=wide.param,
    momentum=wide.momentum,
    eps=settings.eps,
    reductions=reductions,
    norm_scale=_reductions.norm_scale(magnitude),
  )
  modulated = wide.base_update
  if switches.modulate:
    modulated = modulation.modulate(tensor)
  u = modulated
  if switches.decay:
    u = u + settings.weight_decay * wide.param
  factor: Any = 1.0
  if homeostasis is not None:
    factor = _homeostasis.factor(
      tensor.norm(u),
      reductions.size(u),
      homeostasis,
      _hyperparameters.cast(target_rms_scale, dtype),
      settings.eps,
    )
  signal = None
  if switches.control:
    signal = _controller.log_ratio(tensor)
  statistics = None
  if switches.diagnose:
    statistics = _measure(tensor, modulated, u, factor, settings)
  if moments is not None:
    moments = jax.tree.map(_dtypes.downcast, moments, inputs.moments)
  if homeostasis is not None:
    u = _homeostasis.scaled(u, factor)
  return Outputs(u, moments, signal, statistics)


def _coefficients(
  gradient: jax.Array,
  moments: _signals.Moments | None,
  settings: _settings.Settings,
  reductions: _reductions.Reductions,
) -> tuple[jax.Array, jax.Array, jax.Array]:
  """(α, α_grad, mean |g|) of one tensor."""

  def signal(value: jax.Array, mean: jax.Array) -> _coefficient.Signal:
    return _coefficient.Signal(
      value, mean, _signals.normalizer(mean, settings.eps)
    )

  def normalized(x: _coefficient.Signal, weight: Any = 1.0) -> jax.Array:
    return x.normalized(weight, parameterwise=settings.parameterwise)

  def clipped(x: jax.Array) -> jax.Array:
    return _coefficient.clipped(x, settings.min_alpha, settings.max_alpha)

  magnitude = signal(
    _signals.absolute(gradient), reductions.mean(jnp.abs(gradient))
  )
  alpha_gradient = clipped(normalized(magnitude))
  if moments is None:
    return alpha_gradient, alpha_gradient, magnitude.mean
  activity = signal(moments.activity, reductions.mean(moments.activity))
  raw_memory = _signals.memory(moments.mu, moments.nu, settings.eps)
  memory = signal(raw_memory, reductions.mean(raw_memory))
  alpha_full = clipped(
    normalized(activity, settings.activity_weight)
    + normalized(magnitude, settings.gradient_weight)
    + normalized(memory, settings.memory_weight)
  )
  alpha = _coefficient.extrapolate(
    alpha_gradient, alpha_full, settings.plasticity_scale
  )
  return alpha, alpha_gradient, magnitude.mean


def _measure(
  tensor: modulations.Tensor,
  modulated: jax.Array,
  raw_update: jax.Array,
  factor: jax.Array,
  settings: _settings.Settings,
) -> _diagnostics.Statistics:
  """The statistics of one tensor, before the controller acts."""
  alpha = jnp.broadcast_to(tensor.alpha, tensor.base_update.shape)
  mean, low, high = (
    tensor.reductions.mean,
    settings.min_alpha,
    settings.max_alpha,
  )
  near = 0.05 * (high - low)
  alpha_mean = mean(alpha)
  counts = _diagnostics.histogram(alpha, low, high, tensor.reductions)
  raw_norm = tensor.norm(raw_update)
  statistics = _diagnostics.Statistics(
    alpha_mean=alpha_mean,
    alpha_std=jnp.sqrt(mean(jnp.square(alpha - alpha_mean))),
    alpha_median=_diagnostics.median(counts, low, high),
    alpha_min=tensor.reductions.min(alpha),
    alpha_max=tensor.reductions.max(alpha),
    alpha_fraction_near_min=mean((alpha <= low + near).astype(alpha.dtype)),
    alpha_fraction_near_max=mean((alpha >= high - near).astype(alpha.dtype)),
    alpha_histogram=counts,
    gradient_norm=tensor.norm(tensor.gradient),
    parameter_norm=(
      jnp.full_like(raw_norm, jnp.nan)
      if tensor.parameter is None
      else tensor.norm(tensor.parameter)
    ),
    modulation_norm=tensor.norm(modulated - tensor.base_update),
    raw_update_norm=raw_norm,
    update_norm=_homeostasis.scaled(raw_norm, factor),
    controller_multiplier=jnp.ones_like(raw_norm),
  )
  return jax.tree.map(
    lambda x: x if x.dtype == jnp.int32 else x.astype(jnp.float32), statistics
  )
