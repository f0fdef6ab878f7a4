"""The transformation over the tree of params; `_leaf` updates each leaf."""

from collections.abc import Callable
import dataclasses
from typing import Any, Literal

import jax
import jax.numpy as jnp
import optax

from neuroplastic_optax import _diagnostics
from neuroplastic_optax import _keywords
from neuroplastic_optax import _leaf
from neuroplastic_optax import _momentum
from neuroplastic_optax import _numbers
from neuroplastic_optax import _stages
from neuroplastic_optax import _trees
from neuroplastic_optax import _types
from neuroplastic_optax import modulations
from neuroplastic_optax._state import NeuroplasticState

Mask = Any | Callable[[_types.Params], Any]


@_keywords.suggests_names
def neuroplastic(
  base: optax.GradientTransformation | None = None,
  *,
  modulation: modulations.Modulation = modulations.Direct(),
  homeostasis: _stages.Homeostasis | Literal['auto'] | None = 'auto',
  controller: _stages.LearningRateController | None = None,
  gradient_only: bool = False,
  activity_weight: _types.ArrayLike = 0.4,
  gradient_weight: _types.ArrayLike = 0.4,
  memory_weight: _types.ArrayLike = 0.2,
  activity_decay: _types.ArrayLike = 0.95,
  memory_b1: _types.ArrayLike = 0.9,
  memory_b2: _types.ArrayLike = 0.99,
  min_alpha: _types.ArrayLike = 0.2,
  max_alpha: _types.ArrayLike = 2.0,
  plasticity_scale: _types.ScalarOrSchedule = 1.0,
  parameterwise: bool = True,
  weight_decay: _types.ScalarOrSchedule = 0.0,
  weight_decay_mask: Mask | None = None,
  stacked_axes: Any = None,
  axis_name: Any = None,
  state_dtype: _types.DTypeLike | None = None,
  diagnostics: Literal['global', 'per_leaf'] | None = None,
  eps: _types.ArrayLike = 1e-8,
) -> optax.GradientTransformationExtraArgs:
  """Modulates a base update by the plasticity of each parameter.

  Every element of the update is multiplied by a plasticity coefficient α, a
  clipped blend of three signals: the magnitude of the gradient, an average of
  that magnitude (activity), and a memory like Adam's, each divided by its mean
  over the tensor. A homeostatic stage then bounds the update of each tensor.
  With ν(x) = x / (mean(x) + ε), for each parameter tensor θ with gradient g and
  base update b,

      a ← ρ·a + (1 - ρ)·|g|
      m ← β₁·m + (1 - β₁)·g
      v ← β₂·v + (1 - β₂)·g²

      α_grad = clip(ν(|g|), α_min, α_max)
      α_full = clip(w_a·ν(a) + w_g·ν(|g|) + w_m·ν(|m| / (√v + ε)),
                    α_min, α_max)
      α      = α_grad + κ·(α_full - α_grad)

      u = homeostasis(modulate(b, α) + λ·θ)

  The moments a, m and v start at 0 and are not bias-corrected. Like an Optax
  `scale_by_*`, the transformation returns a direction u: chain a learning rate
  and a minus sign after it, or use `neuroplastic_optimizer`.

  Arithmetic is in at least float32, and updates keep the dtype of the updates
  of the base. For complex parameters the signals are made of moduli, and α is
  real. Numbers may be Python or NumPy numbers, JAX arrays or tracers; only
  Python and NumPy numbers are checked.

  Args:
    base: the transformation whose update is modulated. It gets the raw
      gradient, the params and the extra args. None for the identity, so that
      b = g.
    modulation: the rule by which α acts on the update of the base, such as
      `modulations.Direct()` (u = α ⊙ b) or `modulations.Gain()`.
    homeostasis: the bounds on the update of each tensor, or None for no bounds.
      "auto" means the published `Homeostasis()` without a base, and None over
      a base: a clip at norm 1 would shrink the updates of Adam, whose norm is
      about √n, by orders of magnitude.
    controller: a `LearningRateController`, which multiplies the updates by what
      α says; None for no controller.
    gradient_only: whether α = α_grad, an ablation. The state then holds no
      moments.
    activity_weight: w_a ≥ 0, the weight of the activity signal.
    gradient_weight: w_g ≥ 0, the weight of the gradient signal.
    memory_weight: w_m ≥ 0, the weight of the memory signal. At least one of the
      three weights must be positive.
    activity_decay: ρ in [0, 1), the decay of the activity a.
    memory_b1: β₁ in [0, 1), the decay of m.
    memory_b2: β₂ in [0, 1), the decay of v.
    min_alpha: α_min ≥ 0, the lower bound of α_grad and α_full.
    max_alpha: α_max ≥ α_min, their upper bound.
    plasticity_scale: κ ≥ 0, or a schedule of the update count, which is 0 at
      the first update. With κ > 1, α is extrapolated beyond α_full and not
      clipped again.
    parameterwise: whether there is one α per element (True) or one per tensor
      (False).
    weight_decay: λ ≥ 0, or a schedule of the update count. This decay is
      coupled: λ·θ is added before homeostasis.
    weight_decay_mask: the leaves that decay, as in `optax.add_decayed_weights`:
      a pytree of bools (prefixes allowed) or a callable of the params. None for
      all leaves.
    stacked_axes: how many leading axes of a leaf index independent tensors, as
      in scanned layers: an integer, a pytree (prefix) of integers, or a
      callable `(path, leaf) -> int`. None for 0. All statistics, norms and
      limits are then per slice. Ensembles and vmapped seeds that are one tree
      under one optimizer need it, too: else their members share α.
    axis_name: the mesh axis name or names over which tensors are split inside
      `shard_map` or `pmap`, so that statistics are those of whole tensors: one
      for all leaves, a pytree (prefix) of names, or a callable
      `(path, leaf) -> name`. None where each device has whole tensors, such as
      replicated ones or its own slices of a stack, of which controller and
      global diagnostics then describe those of the device. It is not needed
      under `jit`.
    state_dtype: the floating dtype of the moments; None for that of the params.
      "bfloat16" halves those of float32: after gradients that shrink, v stays
      somewhat too large, and α hardly changes. "float16" underflows for small
      gradients.
      If a decay is so close to 1 that the steps of its moment would be lost in
      this dtype (in bfloat16, from 0.9922 on), that moment is kept in float32.
      The library cannot see this for a decay that is an array, as under
      `optax.inject_hyperparams`, and does not do it for None: use float32 for
      such decays and for params in low precision.
    diagnostics: "global" or "per_leaf" to keep statistics of the last update
      in the state, for `get_diagnostics`. None keeps none and costs nothing.
    eps: ε > 0.

  Returns:
    A gradient transformation whose state is a `NeuroplasticState`. Its `update`
    needs the params if weight decay is not a constant 0, if the rule uses them,
    as `modulations.TrustRatio` does, or if the base needs them.

  Raises:
    TypeError: an argument has the wrong type. `init` and `update` raise it for
      a leaf that is neither floating nor complex.
    ValueError: a Python or NumPy number is out of range. `init` and `update`
      raise it for a mask that does not fit the params.

  Examples:
    >>> import jax
    >>> import jax.numpy as jnp
    >>> import optax
    >>> from neuroplastic_optax import neuroplastic
    >>> f = lambda x: jnp.sum(x**2)
    >>> tx = optax.chain(neuroplastic(), optax.scale(-0.1))
    >>> params = jnp.array([1.0, 2.0, 3.0])
    >>> state = tx.init(params)
    >>> for _ in range(5):
    ...   grads = jax.grad(f)(params)
    ...   updates, state = tx.update(grads, state, params)
    ...   params = optax.apply_updates(params, updates)
    ...   print(f'{f(params):.2f}')
    13.28
    12.58
    11.90
    11.24
    10.59

  References:
    Jiang et al., `NeuroPlastic: A Plasticity-Modulated Optimizer for
    Biologically Inspired Learning Dynamics
    <https://arxiv.org/abs/2604.26297>`_, 2026
  """
  numbers = _numbers.Numbers(
    activity_weight=(activity_weight, _numbers.NON_NEGATIVE),
    gradient_weight=(gradient_weight, _numbers.NON_NEGATIVE),
    memory_weight=(memory_weight, _numbers.NON_NEGATIVE),
    activity_decay=(activity_decay, _numbers.DECAY),
    memory_b1=(memory_b1, _numbers.DECAY),
    memory_b2=(memory_b2, _numbers.DECAY),
    min_alpha=(min_alpha, _numbers.NON_NEGATIVE),
    max_alpha=(max_alpha, _numbers.NON_NEGATIVE),
    plasticity_scale=(plasticity_scale, _numbers.NON_NEGATIVE.scheduled),
    weight_decay=(weight_decay, _numbers.NON_NEGATIVE.scheduled),
    eps=(eps, _numbers.POSITIVE),
  )
  weights = activity_weight, gradient_weight, memory_weight
  if all(map(_numbers.is_zero, weights)):
    raise ValueError(
      'activity_weight, gradient_weight and memory_weight must not all be 0, '
      f'got {weights!r}.'
    )
  _numbers.check_order('min_alpha', min_alpha, 'max_alpha', max_alpha)
  _numbers.check_switch('gradient_only', gradient_only)
  _numbers.check_switch('parameterwise', parameterwise)
  if isinstance(homeostasis, str) and homeostasis == 'auto':
    homeostasis = _stages.Homeostasis() if base is None else None
  _check_type('modulation', modulation, modulations.Modulation, optional=False)
  _check_type('base', base, optax.GradientTransformation)
  _check_type('homeostasis', homeostasis, _stages.Homeostasis)
  _check_type('controller', controller, _stages.LearningRateController)
  if not dataclasses.is_dataclass(modulation):
    raise TypeError(
      f'modulation must be a dataclass: decorate {type(modulation).__name__} '
      'with @dataclasses.dataclass(frozen=True).'
    )
  _numbers.check_choice(
    'diagnostics', diagnostics, _diagnostics.MODES, optional=True
  )
  _trees.check_mask('weight_decay_mask', weight_decay_mask)
  _trees.check_stacked_axes(stacked_axes)
  _trees.check_axis_name(axis_name)
  transformation = _Transformation(
    base=optax.with_extra_args_support(base or optax.identity()),
    stages=_leaf.Stages(numbers, modulation, homeostasis, parameterwise),
    gradient_only=gradient_only,
    controller=controller,
    weight_decay_mask=weight_decay_mask,
    stacked_axes=stacked_axes,
    axis_name=axis_name,
    state_dtype=_check_state_dtype(state_dtype),
    diagnostics=diagnostics,
  )
  return optax.GradientTransformationExtraArgs(
    transformation.init, transformation.update
  )


# Compared by identity: `jax.jit` hashes the methods, but arrays have no hash.
@dataclasses.dataclass(frozen=True, eq=False)
class _Transformation:
  """`neuroplastic` with its arguments checked."""

  base: optax.GradientTransformationExtraArgs
  stages: _leaf.Stages
  gradient_only: bool
  controller: _stages.LearningRateController | None
  weight_decay_mask: Mask | None
  stacked_axes: Any
  axis_name: Any
  state_dtype: Any
  diagnostics: _diagnostics.Mode | None

  def init(self, params: _types.Params) -> NeuroplasticState:
    """The state before the first update."""
    flat = _trees.flatten(params)
    _trees.check_floating('neuroplastic', 'params', flat, or_complex=True)
    plans = self._plan(flat)
    base_state = self.base.init(params)
    rule = self.stages.modulation
    if rule.uses_momentum and rule.find_momentum(base_state) is None:
      inside = [plan.modulate for plan in plans]
      _momentum.check(type(rule).__name__, base_state, flat, inside)
    moments = [
      None
      if self.gradient_only
      else _leaf.zero_moments(leaf, self.state_dtype, self.stages.numbers)
      for leaf in flat.leaves
    ]
    nothing = [None] * len(plans)
    return NeuroplasticState(
      count=jnp.zeros([], jnp.int32),
      **self._unflatten_moments(flat, moments),
      base=base_state,
      diagnostics=self._collect(flat, plans, nothing, nothing),
    )

  def update(
    self,
    updates: _types.Updates,
    state: NeuroplasticState,
    params: _types.Params | None = None,
    **extra_args: Any,
  ) -> tuple[_types.Updates, NeuroplasticState]:
    """The updates and the state after one update."""
    self._check_params(params)
    flat = _trees.flatten(updates)
    _trees.check_floating('neuroplastic', 'updates', flat, or_complex=True)
    base_updates, base_state = self.base.update(
      updates, state.base, params, **extra_args
    )
    # Masks are functions of the params; where those are not passed, of the
    # updates, as in Optax.
    like = flat
    if params is not None:
      like = _trees.Flat(flat.align('params', params), flat.treedef)
    plans = self._plan(like)
    stages = self.stages.at(state.count)
    base_leaves = flat.align('the updates of the base', base_updates)
    columns = zip(
      flat.leaves,
      base_leaves,
      self._parameters(like, params),
      self._momenta(base_state, flat),
      self._flatten_moments(flat, state),
      strict=True,
    )
    # Leaf by leaf. One function for equal leaves under an inner `jit` would be
    # traced faster, but XLA inlines it, compiles as long, and fuses other sums,
    # so that results would depend on `shard_map`. Stacks of equal leaves
    # compile longer, run slower, and would move shards.
    old = [_leaf.Inputs(*row) for row in columns]
    inputs = [_leaf.remember(leaf, stages) for leaf in old]
    proposals = [
      _leaf.propose(leaf, plan, stages, measure=self.diagnostics is not None)
      for leaf, plan in zip(inputs, plans, strict=True)
    ]
    multipliers: list[Any] = [None] * len(plans)
    if self.controller is not None:
      multipliers = self.controller.multipliers(
        [proposal.log_ratio for proposal in proposals],
        [plan.group for plan in plans],
      )
    updates = [
      _leaf.finish(*row)
      for row in zip(proposals, multipliers, base_leaves, strict=True)
    ]
    moments = [
      _leaf.stored(new.moments, leaf.moments)
      for new, leaf in zip(inputs, old, strict=True)
    ]
    # Without diagnostics, those that the state may hold are passed on.
    diagnostics = state.diagnostics
    if self.diagnostics is not None:
      measured = [proposal.measured for proposal in proposals]
      diagnostics = self._collect(flat, plans, measured, multipliers)
    return flat.unflatten(updates), NeuroplasticState(
      count=optax.safe_increment(state.count),
      **self._unflatten_moments(flat, moments),
      base=base_state,
      diagnostics=diagnostics,
    )

  def _plan(self, flat: _trees.Flat) -> list[_leaf.Plan]:
    """What is to be done to each leaf; `flat` is of params, or like them."""
    count = len(flat.leaves)
    modulation, homeostasis = self.stages.modulation, self.stages.homeostasis
    decay = [False] * count
    if self.stages.decays:
      decay = _trees.mask('weight_decay_mask', self.weight_decay_mask, flat)
    groups: list[Any] = [None] * count
    if self.controller is not None:
      name, controller = 'LearningRateController', self.controller
      inside = _trees.mask(f'{name}.scope', controller.scope, flat)
      labels = _trees.labels(f'{name}.groups', controller.groups, flat)
      # A tuple, so that no label of the user's is taken for "outside".
      groups = [
        (label,) if take else None
        for label, take in zip(labels, inside, strict=True)
      ]
    scales: list[Any] = [1.0] * count
    if homeostasis is not None and homeostasis.target_rms_scale is not None:
      scales = _trees.positive_numbers(
        'Homeostasis.target_rms_scale', homeostasis.target_rms_scale, flat
      )
    columns = (
      _trees.mask(f'{type(modulation).__name__}.scope', modulation.scope, flat),
      decay,
      groups,
      scales,
      _trees.stacked(self.stacked_axes, flat),
      _trees.axis_names(self.axis_name, flat),
    )
    return [_leaf.Plan(*row) for row in zip(*columns, strict=True)]

  def _collect(
    self,
    flat: _trees.Flat,
    plans: list[_leaf.Plan],
    measured: list[Any],
    multipliers: list[Any],
  ) -> Any:
    """The diagnostics for the state; None where they are off."""
    if self.diagnostics is None:
      return None
    stacked_axes = [plan.stacked_axes for plan in plans]
    return _diagnostics.collect(
      self.diagnostics, flat, stacked_axes, measured, multipliers
    )

  def _check_params(self, params: _types.Params | None) -> None:
    """Refuses to do without params where they are needed."""
    modulation, decays = self.stages.modulation, self.stages.decays
    if params is None and (decays or modulation.uses_parameter):
      why = 'weight_decay' if decays else f'{type(modulation).__name__}'
      message = (
        f'neuroplastic with {why} needs the params: call '
        'update(updates, state, params).'
      )
      if decays and isinstance(self.stages.numbers.weight_decay, jax.Array):
        message += (
          ' An array may hold any number: if optax.inject_hyperparams made it '
          "of the default 0, pass static_args='weight_decay'."
        )
      raise ValueError(message)

  def _parameters(
    self, like: _trees.Flat, params: _types.Params | None
  ) -> list[Any]:
    """θ of each leaf; None where it was not passed, or nothing needs it."""
    needed = (
      self.stages.decays
      or self.stages.modulation.uses_parameter
      or self.diagnostics is not None
    )
    if params is None or not needed:
      return [None] * len(like.leaves)
    return like.leaves

  def _momenta(
    self, base_state: _types.OptState, flat: _trees.Flat
  ) -> list[Any]:
    """m̂ of each leaf; None where there is none, or the rule needs none."""
    rule = self.stages.modulation
    if not rule.uses_momentum:
      return [None] * len(flat.leaves)
    found = rule.find_momentum(base_state)
    if found is None:
      return _momentum.momenta(base_state, flat, rule.decay)
    return flat.align('what find_momentum returned', found)

  def _flatten_moments(
    self, flat: _trees.Flat, state: NeuroplasticState
  ) -> list[_leaf.Moments | None]:
    """The moments of each leaf; None in gradient-only mode."""
    if self.gradient_only:
      return [None] * len(flat.leaves)
    columns = [
      flat.align(f'state.{field}', getattr(state, field))
      for field in _leaf.Moments._fields
    ]
    return [_leaf.Moments(*row) for row in zip(*columns, strict=True)]

  def _unflatten_moments(
    self, flat: _trees.Flat, moments: list[_leaf.Moments | None]
  ) -> dict[str, Any]:
    """The fields of the state that hold these moments."""
    return {
      field: None
      if self.gradient_only
      else flat.unflatten([getattr(leaf, field) for leaf in moments])
      for field in _leaf.Moments._fields
    }


def _check_type(
  name: str, value: Any, kind: type, *, optional: bool = True
) -> None:
  if isinstance(value, kind) or (optional and value is None):
    return
  message = f'{name} must be a {kind.__name__}'
  message += f'{" or None" if optional else ""}, got {value!r}.'
  if isinstance(value, type) and issubclass(value, kind):
    message += f' Did you mean {value.__name__}()?'
  raise TypeError(message)


def _check_state_dtype(dtype: Any) -> Any:
  """The floating dtype that `state_dtype` names; None for the params'."""
  if dtype is None:
    return None
  message = (
    'state_dtype must be a floating dtype or None, of at least 16 bits, got '
    f'{dtype!r}.'
  )
  try:
    known = jnp.dtype(dtype)
  except TypeError:
    raise TypeError(message) from None
  if not jnp.issubdtype(known, jnp.floating) or jnp.finfo(known).bits < 16:
    raise ValueError(message)
  if jax.dtypes.canonicalize_dtype(known) != known:
    raise ValueError(
      f'state_dtype={known.name} needs 64-bit mode: call '
      "jax.config.update('jax_enable_x64', True) first."
    )
  return known
