"""The transformation that assembles the stages over the tree of params.

The flow, per parameter tensor: signals → α → modulation → decay → homeostasis
→ controller.
"""

from collections.abc import Callable
import functools
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import optax

from neuroplastic_optax import _controller
from neuroplastic_optax import _diagnostics
from neuroplastic_optax import _dtypes
from neuroplastic_optax import _homeostasis
from neuroplastic_optax import _hyperparameters
from neuroplastic_optax import _momentum
from neuroplastic_optax import _reductions
from neuroplastic_optax import _settings
from neuroplastic_optax import _signals
from neuroplastic_optax import _slices
from neuroplastic_optax import _tensor
from neuroplastic_optax import _trees
from neuroplastic_optax import modulations
from neuroplastic_optax._state import NeuroplasticState

Mask = Any | Callable[[optax.Params], Any]


def _zero_moments(
  params: optax.Params, state_dtype: Any, settings: _settings.Settings
) -> tuple[Any, ...]:
  """The moments (a, m, v) before the first update."""

  def zeros(leaf: Any, *, real: bool, decay: Any) -> jax.Array:
    dtype = jnp.result_type(leaf)
    if real:
      dtype = _dtypes.real_dtype(dtype)
    known = float(decay) if _hyperparameters.is_known(decay) else None
    kept = _dtypes.accumulator_dtype(state_dtype, known)
    # The dtype is given so that no state is weakly typed.
    return jnp.zeros_like(leaf, dtype=_dtypes.moment_dtype(dtype, kept))

  return tuple(
    jax.tree.map(functools.partial(zeros, real=real, decay=decay), params)
    for real, decay in (
      (True, settings.activity_decay),
      (False, settings.memory_b1),
      (True, settings.memory_b2),
    )
  )


def neuroplastic(
  base: optax.GradientTransformation | None = None,
  *,
  modulation: modulations.Modulation = modulations.Direct(),
  homeostasis: _homeostasis.Homeostasis | Literal['auto'] | None = 'auto',
  controller: _controller.LearningRateController | None = None,
  gradient_only: bool = False,
  activity_weight: jax.typing.ArrayLike = 0.4,
  gradient_weight: jax.typing.ArrayLike = 0.4,
  memory_weight: jax.typing.ArrayLike = 0.2,
  activity_decay: jax.typing.ArrayLike = 0.95,
  memory_b1: jax.typing.ArrayLike = 0.9,
  memory_b2: jax.typing.ArrayLike = 0.99,
  min_alpha: jax.typing.ArrayLike = 0.2,
  max_alpha: jax.typing.ArrayLike = 2.0,
  plasticity_scale: optax.ScalarOrSchedule = 1.0,
  parameterwise: bool = True,
  weight_decay: optax.ScalarOrSchedule = 0.0,
  weight_decay_mask: Mask | None = None,
  stacked_axes: Any = None,
  axis_name: Any = None,
  state_dtype: jax.typing.DTypeLike | None = None,
  diagnostics: Literal['global', 'per_leaf'] | None = None,
  eps: jax.typing.ArrayLike = 1e-8,
) -> optax.GradientTransformationExtraArgs:
  r"""Modulates a base update by the plasticity of each parameter.

  Every element of the update is multiplied by a plasticity coefficient
  :math:`\alpha`, a clipped blend of three mean-normalised signals: the
  gradient's magnitude, an activity trace and an Adam-style memory. A
  homeostatic stage then bounds the update of each tensor. With
  :math:`\nu(x) = x / (\mathrm{mean}(x) + \varepsilon)`, per parameter tensor:

  .. math::

    \begin{align*}
      a_t &\leftarrow \rho a_{t-1} + (1-\rho) |g_t| \\
      m_t &\leftarrow \beta_1 m_{t-1} + (1-\beta_1) g_t \\
      v_t &\leftarrow \beta_2 v_{t-1} + (1-\beta_2) g_t^2 \\
      \alpha_{grad} &= \mathrm{clip}(\nu(|g_t|), \alpha_{min}, \alpha_{max}) \\
      \alpha_{full} &= \mathrm{clip}(w_a \nu(a_t) + w_g \nu(|g_t|) +
        w_m \nu(|m_t| / (\sqrt{v_t} + \varepsilon)),
        \alpha_{min}, \alpha_{max}) \\
      \alpha &= \alpha_{grad} + \kappa_t (\alpha_{full} - \alpha_{grad}) \\
      u_t &= \mathrm{homeostasis}(\mathrm{modulate}(b_t, \alpha) +
        \lambda \theta_{t-1})
    \end{align*}

  The moments are not bias-corrected. Like an Optax ``scale_by_*``, the result
  is a direction: chain a learning rate and a minus sign after it.

  Arithmetic is in at least float32; updates keep the dtype of the base's
  updates. Of complex parameters, the moduli make the signals; :math:`\alpha`
  is real. Numbers may be Python or NumPy numbers, JAX arrays or tracers;
  Python and NumPy numbers are checked.

  Args:
    base: the transformation whose update is modulated; None is the identity.
      It gets the raw gradient, the params and the extra args.
    modulation: how α acts on the base's update.
    homeostasis: what bounds the update of each tensor; None for off. "auto":
      as published without a base; off over a base, whose updates' norms,
      about √n for Adam, a clip at norm 1 would strangle.
    controller: a multiplier of the result, from what α says; None for off.
    gradient_only: the ablation α = α_grad. The state then holds no moments.
    activity_weight: w_a ≥ 0.
    gradient_weight: w_g ≥ 0.
    memory_weight: w_m ≥ 0. The three may not all be 0.
    activity_decay: ρ in [0, 1).
    memory_b1: β₁ in [0, 1).
    memory_b2: β₂ in [0, 1).
    min_alpha: α_min ≥ 0.
    max_alpha: α_max ≥ α_min.
    plasticity_scale: κ ≥ 0, or a schedule of the update count, which is 0 at
      the first update. Above 1, α is extrapolated and not clipped again.
    parameterwise: one α per element (True) or per tensor (False).
    weight_decay: λ ≥ 0, or a schedule of the update count: coupled decay,
      added before homeostasis.
    weight_decay_mask: which leaves decay, as in `optax.add_decayed_weights`:
      a pytree of bools (prefixes allowed) or a callable of the params.
    stacked_axes: how many leading axes of a leaf index independent tensors, as
      in scanned layers: an integer, a pytree (prefix) of integers, or a
      callable `(path, leaf) -> int`; None for 0. All statistics, norms and
      limits are then per slice.
    axis_name: the mesh axis name or names over which tensors are split inside
      `shard_map` or `pmap`: one for all leaves, or a pytree (prefix) of names,
      or a callable `(path, leaf) -> name`, None where each device has whole
      tensors: replicated ones, or its own slices of a stack. Statistics are
      then those of the whole tensors. Not needed under `jit`.
    state_dtype: floating dtype of the moments; None for that of the params. A
      moment whose decay is so near 1 that its steps would be lost in the dtype
      given here is kept in float32: in bfloat16, from 0.9922 on. That is not
      seen of a decay that is an array, as under `optax.inject_hyperparams`, nor
      with None: for such decays, and params in low precision, give float32.
    diagnostics: "global" or "per_leaf" to keep statistics of the last update
      in the state, for `get_diagnostics`; None for off, which costs nothing.
    eps: ε > 0.

  Returns:
    A gradient transformation with a `NeuroplasticState`. Its `update` needs
    the params where weight decay is not a constant 0, for
    `modulations.TrustRatio`, and where the base needs them.

  Raises:
    TypeError: an argument of the wrong type; at `init` or `update`, a leaf
      that is neither floating nor complex.
    ValueError: a Python or NumPy number out of range; at `init` or `update`,
      a mask that does not fit the params.

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
  settings = _settings.Settings(
    gradient_only=gradient_only,
    parameterwise=parameterwise,
    activity_weight=activity_weight,
    gradient_weight=gradient_weight,
    memory_weight=memory_weight,
    activity_decay=activity_decay,
    memory_b1=memory_b1,
    memory_b2=memory_b2,
    min_alpha=min_alpha,
    max_alpha=max_alpha,
    plasticity_scale=plasticity_scale,
    weight_decay=weight_decay,
    eps=eps,
  )
  rule = _settings.Rule(
    settings,
    _check_type('modulation', modulation, modulations.Modulation, 'Direct()'),
    _resolve_homeostasis(homeostasis, base),
  )
  if controller is not None:
    _check_type(
      'controller',
      controller,
      _controller.LearningRateController,
      'LearningRateController() or None',
    )
  if diagnostics is not None and diagnostics not in _diagnostics.MODES:
    raise ValueError(
      f'diagnostics must be "global", "per_leaf" or None, got {diagnostics!r}.'
    )
  _trees.check_mask('weight_decay_mask', weight_decay_mask)
  _slices.check_stacked_axes(stacked_axes)
  _slices.check_axis_name(axis_name)
  state_dtype = _dtypes.check_state_dtype(state_dtype)
  inner = optax.with_extra_args_support(_check_base(base))
  decays = not _hyperparameters.is_zero(weight_decay)
  find_momentum = getattr(modulation, 'momentum', None)

  def plan(flat: _trees.Flat) -> list[_Plan]:
    """What is to be done to each leaf; `flat` is of params, or like them."""
    count = len(flat.leaves)
    decay = [False] * count
    if decays:
      decay = _trees.mask('weight_decay_mask', weight_decay_mask, flat)
    labels: Any = [None] * count
    if controller is not None:
      labels = controller.labels(flat)
    scales: Any = [None] * count
    if rule.homeostasis is not None:
      scales = rule.homeostasis.scales(flat)
    columns = (
      rule.modulation.in_scope(flat),
      decay,
      labels,
      scales,
      _slices.stacked(stacked_axes, flat),
      _slices.axis_names(axis_name, flat),
    )
    return [_Plan(*row) for row in zip(*columns, strict=True)]

  def init_fn(params: optax.Params) -> NeuroplasticState:
    flat = _trees.flatten(params)
    _trees.check_inexact('params', flat)
    plans = plan(flat)
    base_state = inner.init(params)
    if modulation.uses_momentum and find_momentum is None:
      _momentum.check(base_state, flat, [each.modulate for each in plans])
    moments: tuple[Any, ...] = (None, None, None)
    if not gradient_only:
      moments = _zero_moments(params, state_dtype, settings)
    activity, memory_mu, memory_nu = moments
    return NeuroplasticState(
      count=jnp.zeros([], jnp.int32),
      activity=activity,
      memory_mu=memory_mu,
      memory_nu=memory_nu,
      base=base_state,
      diagnostics=_diagnostics.initial(
        diagnostics, flat, [each.stacked_axes for each in plans]
      ),
    )

  def update_fn(
    updates: optax.Updates,
    state: NeuroplasticState,
    params: optax.Params | None = None,
    **extra_args: Any,
  ) -> tuple[optax.Updates, NeuroplasticState]:
    if params is None and (decays or modulation.uses_parameter):
      why = 'weight_decay' if decays else f'{type(modulation).__name__}'
      raise ValueError(
        f'neuroplastic with {why} needs the params: call '
        'update(updates, state, params).'
      )
    flat = _trees.flatten(updates)
    _trees.check_inexact('updates', flat)
    base_updates, base_state = inner.update(
      updates, state.base, params, **extra_args
    )
    # Masks are functions of the params; where those are not passed, of the
    # updates, as in Optax.
    like = flat
    if params is not None:
      like = _trees.Flat(flat.align('params', params), flat.treedef)
    plans = plan(like)
    momenta: list[Any] = [None] * len(flat.leaves)
    if modulation.uses_momentum:
      if find_momentum is not None:
        found = find_momentum(base_state)
        momenta = flat.align('what momentum= returned', found)
      else:
        momenta = _momentum.momentum(
          inner, state.base, base_state, flat, extra_args
        )
    uses_params = decays or modulation.uses_parameter or diagnostics
    now = rule.at(state.count)

    outputs = []
    for each, g, b, p, m, *moments in zip(
      plans,
      flat.leaves,
      flat.align('the updates of the base', base_updates),
      like.leaves if params is not None else [None] * len(flat.leaves),
      momenta,
      flat.align('state.activity', state.activity),
      flat.align('state.memory_mu', state.memory_mu),
      flat.align('state.memory_nu', state.memory_nu),
      strict=True,
    ):
      old = None if gradient_only else _signals.Moments(*moments)
      if g is None or not jnp.size(g):
        outputs.append(_tensor.Outputs(b, old, None, None))
        continue
      inputs = _tensor.Inputs(
        gradient=jnp.asarray(g),
        base_update=jnp.asarray(b),
        param=jnp.asarray(p) if uses_params and p is not None else None,
        momentum=m if each.modulate else None,
        moments=old,
      )
      outputs.append(each.update(inputs, now, bool(diagnostics)))

    outputs = _control(controller, plans, outputs)

    def moment(name: str) -> Any:
      if gradient_only:
        return None
      return flat.unflatten([getattr(each.moments, name) for each in outputs])

    kept = None
    if diagnostics:
      kept = _diagnostics.collect(
        diagnostics,
        flat,
        [each.stacked_axes for each in plans],
        [each.statistics for each in outputs],
        (settings.min_alpha, settings.max_alpha),
      )
    new_updates = [
      each.update
      if each.update is None
      else _dtypes.downcast(each.update, jnp.asarray(b))
      for each, b in zip(
        outputs, flat.align('updates', base_updates), strict=True
      )
    ]
    return flat.unflatten(new_updates), NeuroplasticState(
      count=optax.safe_increment(state.count),
      activity=moment('activity'),
      memory_mu=moment('mu'),
      memory_nu=moment('nu'),
      base=base_state,
      diagnostics=kept,
    )

  return optax.GradientTransformationExtraArgs(init_fn, update_fn)


class _Plan(NamedTuple):
  """What is to be done to one leaf; static but for the scale."""

  modulate: bool
  decay: bool
  label: Any  # Its group for the controller, None outside the scope.
  target_rms_scale: Any
  stacked_axes: int
  axis_name: tuple[str, ...] | None

  def update(
    self, inputs: _tensor.Inputs, rule: _settings.Rule, diagnose: bool
  ) -> _tensor.Outputs:
    """Updates the leaf, slice by slice where it is stacked."""
    switches = _tensor.Switches(
      modulate=self.modulate,
      decay=self.decay,
      control=self.label is not None,
      diagnose=diagnose,
    )
    one = functools.partial(
      _tensor.update,
      rule=rule,
      switches=switches,
      target_rms_scale=self.target_rms_scale,
      reductions=_reductions.Reductions(self.axis_name),
    )
    return _slices.over_slices(one, self.stacked_axes)(inputs)


def _control(
  controller: _controller.LearningRateController | None,
  plans: list[_Plan],
  outputs: list[_tensor.Outputs],
) -> list[_tensor.Outputs]:
  """The outputs, with every update multiplied as the controller says."""
  if controller is None:
    return outputs
  multipliers = controller.multipliers(
    [each.signal for each in outputs], [plan.label for plan in plans]
  )
  return [
    each if multiplier is None else each.multiplied(multiplier)
    for each, multiplier in zip(outputs, multipliers, strict=True)
  ]


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
