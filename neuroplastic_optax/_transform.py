"""The transformation over the tree of params; `_leaf` updates each leaf."""

from collections.abc import Callable
import dataclasses
from typing import Any, Literal

import jax
import jax.numpy as jnp
import optax

from neuroplastic_optax import _controller
from neuroplastic_optax import _diagnostics
from neuroplastic_optax import _dtypes
from neuroplastic_optax import _homeostasis
from neuroplastic_optax import _keywords
from neuroplastic_optax import _leaf
from neuroplastic_optax import _momentum
from neuroplastic_optax import _numbers
from neuroplastic_optax import _signals
from neuroplastic_optax import _slices
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
  homeostasis: _homeostasis.Homeostasis | Literal['auto'] | None = 'auto',
  controller: _controller.LearningRateController | None = None,
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
      limits are then per slice.
    axis_name: the mesh axis name or names over which tensors are split inside
      `shard_map` or `pmap`, so that statistics are those of whole tensors: one
      for all leaves, a pytree (prefix) of names, or a callable
      `(path, leaf) -> name`. None where each device has whole tensors, such as
      replicated ones or its own slices of a stack. It is not needed under
      `jit`.
    state_dtype: the floating dtype of the moments; None for that of the params.
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
  _check_type('modulation', modulation, modulations.Modulation, 'Direct()')
  if not dataclasses.is_dataclass(modulation):
    raise TypeError(
      f'modulation must be a dataclass: decorate {type(modulation).__name__} '
      'with @dataclasses.dataclass(frozen=True).'
    )
  if controller is not None:
    _check_type(
      'controller',
      controller,
      _controller.LearningRateController,
      'LearningRateController() or None',
    )
  _numbers.check_choice(
    'diagnostics', diagnostics, _diagnostics.MODES, optional=True
  )
  _trees.check_mask('weight_decay_mask', weight_decay_mask)
  _slices.check_stacked_axes(stacked_axes)
  _slices.check_axis_name(axis_name)
  transformation = _Transformation(
    base=optax.with_extra_args_support(_check_base(base)),
    stages=_leaf.Stages(
      numbers,
      modulation,
      _resolve_homeostasis(homeostasis, base),
      parameterwise,
    ),
    gradient_only=gradient_only,
    controller=controller,
    weight_decay_mask=weight_decay_mask,
    stacked_axes=stacked_axes,
    axis_name=axis_name,
    state_dtype=_dtypes.check_state_dtype(state_dtype),
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
  controller: _controller.LearningRateController | None
  weight_decay_mask: Mask | None
  stacked_axes: Any
  axis_name: Any
  state_dtype: Any
  diagnostics: _diagnostics.Mode | None

  def init(self, params: _types.Params) -> NeuroplasticState:
    """The state before the first update."""
    flat = _trees.flatten(params)
    _trees.check_inexact('params', flat)
    plans = self._plan(flat)
    base_state = self.base.init(params)
    self.stages.modulation.check_base(
      base_state, flat, [plan.modulate for plan in plans]
    )
    moments: list[Any] = [None] * len(plans)
    if not self.gradient_only:
      moments = [
        _leaf.zero_moments(leaf, self.state_dtype, self.stages.numbers)
        for leaf in flat.leaves
      ]
    return NeuroplasticState(
      count=jnp.zeros([], jnp.int32),
      **self._unflatten_moments(flat, moments),
      base=base_state,
      diagnostics=_diagnostics.initial(
        self.diagnostics, flat, [plan.stacked_axes for plan in plans]
      ),
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
    _trees.check_inexact('updates', flat)
    base_updates, base_state = self.base.update(
      updates, state.base, params, **extra_args
    )
    # Masks are functions of the params; where those are not passed, of the
    # updates, as in Optax.
    like = flat
    if params is not None:
      like = _trees.Flat(flat.align('params', params), flat.treedef)
    plans = self._plan(like)
    step = _momentum.Step(self.base, state.base, base_state, flat, extra_args)
    base_leaves = flat.align('the updates of the base', base_updates)
    columns = zip(
      flat.leaves,
      base_leaves,
      self._parameters(like, params),
      self.stages.modulation.momenta(step),
      self._flatten_moments(flat, state),
      strict=True,
    )
    stages = self.stages.at(state.count)
    old = [_leaf.Inputs(*row) for row in columns]
    inputs = [_leaf.remember(each, stages) for each in old]
    proposals = [
      _leaf.propose(each, plan, stages, measure=self.diagnostics is not None)
      for each, plan in zip(inputs, plans, strict=True)
    ]
    multipliers = self._multipliers(proposals, plans)
    updates = [
      _leaf.finish(*row)
      for row in zip(proposals, multipliers, base_leaves, strict=True)
    ]
    moments = [
      _leaf.stored(new.moments, each.moments)
      for new, each in zip(inputs, old, strict=True)
    ]
    # Without diagnostics, those that the state may hold are passed on.
    diagnostics = state.diagnostics
    if self.diagnostics is not None:
      diagnostics = _diagnostics.collect(
        self.diagnostics,
        flat,
        [plan.stacked_axes for plan in plans],
        [
          _diagnostics.complete(proposal.measured, multiplier)
          for proposal, multiplier in zip(proposals, multipliers, strict=True)
        ],
      )
    return flat.unflatten(updates), NeuroplasticState(
      count=optax.safe_increment(state.count),
      **self._unflatten_moments(flat, moments),
      base=base_state,
      diagnostics=diagnostics,
    )

  def _plan(self, flat: _trees.Flat) -> list[_leaf.Plan]:
    """What is to be done to each leaf; `flat` is of params, or like them."""
    count = len(flat.leaves)
    decay = [False] * count
    if self.stages.decays:
      decay = _trees.mask('weight_decay_mask', self.weight_decay_mask, flat)
    groups: list[Any] = [None] * count
    if self.controller is not None:
      groups = self.controller.assign(flat)
    scales: list[Any] = [None] * count
    if self.stages.homeostasis is not None:
      scales = self.stages.homeostasis.scales(flat)
    columns = (
      self.stages.modulation.in_scope(flat),
      decay,
      groups,
      scales,
      _slices.stacked(self.stacked_axes, flat),
      _slices.axis_names(self.axis_name, flat),
    )
    return [_leaf.Plan(*row) for row in zip(*columns, strict=True)]

  def _check_params(self, params: _types.Params | None) -> None:
    """Refuses to do without params where they are needed."""
    modulation, decays = self.stages.modulation, self.stages.decays
    if params is None and (decays or modulation.uses_parameter):
      why = 'weight_decay' if decays else f'{type(modulation).__name__}'
      raise ValueError(
        f'neuroplastic with {why} needs the params: call '
        'update(updates, state, params).'
      )

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

  def _multipliers(
    self, proposals: list[_leaf.Proposal], plans: list[_leaf.Plan]
  ) -> list[jax.Array | None]:
    """What the controller multiplies each leaf by; None for 1."""
    if self.controller is None:
      return [None] * len(plans)
    return self.controller.multipliers(
      [each.log_ratio for each in proposals], [plan.group for plan in plans]
    )

  def _flatten_moments(
    self, flat: _trees.Flat, state: NeuroplasticState
  ) -> list[_signals.Moments | None]:
    """The moments of each leaf; None in gradient-only mode."""
    if self.gradient_only:
      return [None] * len(flat.leaves)
    columns = [
      flat.align(f'state.{field}', getattr(state, field))
      for field in _MOMENTS.values()
    ]
    return [
      _signals.Moments(**dict(zip(_MOMENTS, row, strict=True)))
      for row in zip(*columns, strict=True)
    ]

  def _unflatten_moments(
    self, flat: _trees.Flat, moments: list[_signals.Moments | None]
  ) -> dict[str, Any]:
    """The fields of the state that hold these moments."""
    if self.gradient_only:
      return dict.fromkeys(_MOMENTS.values())
    return {
      field: flat.unflatten([getattr(each, name) for each in moments])
      for name, field in _MOMENTS.items()
    }


# The moments of a leaf, and the fields of the state that hold their trees.
_MOMENTS = {'activity': 'activity', 'mu': 'memory_mu', 'nu': 'memory_nu'}


def _check_type(name: str, value: Any, kind: type, example: str) -> Any:
  if not isinstance(value, kind):
    raise TypeError(
      f'{name} must be a {kind.__name__}, such as {example}, got {value!r}.'
    )
  return value


def _resolve_homeostasis(
  homeostasis: Any, base: optax.GradientTransformation | None
) -> _homeostasis.Homeostasis | None:
  if isinstance(homeostasis, str) and homeostasis == 'auto':
    return _homeostasis.Homeostasis() if base is None else None
  if homeostasis is None or isinstance(homeostasis, _homeostasis.Homeostasis):
    return homeostasis
  raise TypeError(
    f'homeostasis must be a Homeostasis, None or "auto", got {homeostasis!r}.'
  )


def _check_base(
  base: optax.GradientTransformation | None,
) -> optax.GradientTransformation:
  if base is None:
    return optax.identity()
  if not isinstance(base, optax.GradientTransformation):
    raise TypeError(
      f'base must be an optax.GradientTransformation or None, got {base!r}.'
    )
  return base
