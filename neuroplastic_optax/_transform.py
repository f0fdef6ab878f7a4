"""The transformation that assembles the stages.

The flow, per parameter tensor: signals → α → modulation → decay → homeostasis.
"""

from collections.abc import Callable
import dataclasses
import functools
from typing import Any, ClassVar, Literal, NamedTuple

import jax
import jax.numpy as jnp
import optax

from neuroplastic_optax import _coefficient
from neuroplastic_optax import _homeostasis
from neuroplastic_optax import _numbers
from neuroplastic_optax import _numerics
from neuroplastic_optax import _reductions
from neuroplastic_optax import _signals
from neuroplastic_optax import _stage
from neuroplastic_optax import _trees
from neuroplastic_optax import modulations

Mask = Any | Callable[[optax.Params], Any]


class NeuroplasticState(NamedTuple):
  """The state of `neuroplastic`.

  Attributes:
    count: updates so far, shape (), dtype int32.
    activity: a, the average of |g|: a tree like the params, real, of
      `state_dtype`; None in gradient-only mode.
    memory_mu: m, the average of g: likewise, but complex where the params are.
    memory_nu: v, the average of |g|²: likewise, real.
    base: the state of the base transformation.
    diagnostics: the last update's statistics, None when they are off.
  """

  count: jax.Array  # type: ignore[assignment]  # tuple.count is a method.
  activity: optax.Updates | None
  memory_mu: optax.Updates | None
  memory_nu: optax.Updates | None
  base: optax.OptState
  diagnostics: Any


@dataclasses.dataclass(frozen=True)
class _Settings(_stage.Stage):
  """The numbers and switches that are `neuroplastic`'s own."""

  label: ClassVar[str] = ''

  gradient_only: bool
  parameterwise: bool
  activity_weight: Any = _stage.number()
  gradient_weight: Any = _stage.number()
  memory_weight: Any = _stage.number()
  activity_decay: Any = _stage.number(_numbers.DECAY)
  memory_b1: Any = _stage.number(_numbers.DECAY)
  memory_b2: Any = _stage.number(_numbers.DECAY)
  min_alpha: Any = _stage.number()
  max_alpha: Any = _stage.number()
  plasticity_scale: Any = _stage.number(schedule=True)
  weight_decay: Any = _stage.number(schedule=True)
  eps: Any = _stage.number(_numbers.POSITIVE)

  def __post_init__(self) -> None:
    super().__post_init__()
    for name in ('gradient_only', 'parameterwise'):
      check_switch(name, getattr(self, name))
    weights = self.activity_weight, self.gradient_weight, self.memory_weight
    if all(map(_numbers.is_zero, weights)):
      raise ValueError(
        'activity_weight, gradient_weight and memory_weight must not all be '
        f'0, got {weights!r}.'
      )
    low, high = self.min_alpha, self.max_alpha
    if _numbers.is_known(low) and _numbers.is_known(high) and low > high:
      raise ValueError(
        f'min_alpha must be at most max_alpha, got min_alpha={low!r} and '
        f'max_alpha={high!r}.'
      )


class _Rule(NamedTuple):
  """All that one update does to a tensor."""

  settings: _Settings
  modulation: modulations.Modulation
  homeostasis: _homeostasis.Homeostasis | None

  def at(self, count: jax.Array) -> '_Rule':
    """This rule at update `count`: schedules replaced by their values."""
    return self._map(lambda stage: stage.at(count))

  def cast(self, dtype: Any) -> '_Rule':
    """This rule with its numbers ready for arithmetic in `dtype`."""
    return self._map(lambda stage: stage.cast(dtype))

  def _map(self, function: Callable[[Any], Any]) -> '_Rule':
    return _Rule._make(
      None if stage is None else function(stage) for stage in self
    )


class _Tensor(NamedTuple):
  """One parameter tensor at one update."""

  gradient: jax.Array
  base_update: jax.Array
  param: jax.Array | None  # None where decay does not need it.
  moments: _signals.Moments | None  # None in gradient-only mode.
  target_rms_scale: Any


def _coefficients(
  gradient: jax.Array,
  moments: _signals.Moments | None,
  settings: _Settings,
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
    jnp.abs(gradient), reductions.mean(_signals.absolute(gradient))
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


def _update_tensor(
  tensor: _Tensor, rule: _Rule, reductions: _reductions.Reductions
) -> tuple[jax.Array, _signals.Moments | None]:
  """The update and the new moments of one tensor, each in its own dtype."""
  gradient, base_update = tensor.gradient, tensor.base_update
  if not gradient.size:
    return base_update, tensor.moments
  dtype = _numerics.compute_dtype((gradient, base_update, tensor.moments))
  settings, modulation, homeostasis = rule.cast(dtype)
  g, b = _numerics.upcast((gradient, base_update), dtype)
  moments = None
  if tensor.moments is not None:
    moments = _signals.update_moments(
      g,
      _numerics.upcast(tensor.moments, dtype),
      settings.activity_decay,
      settings.memory_b1,
      settings.memory_b2,
    )
  alpha, alpha_gradient, magnitude = _coefficients(
    g, moments, settings, reductions
  )
  view = modulations.Tensor(
    base_update=b,
    gradient=g,
    alpha=alpha,
    alpha_gradient=alpha_gradient,
    reductions=reductions,
    norm_scale=_reductions.norm_scale(magnitude),
  )
  u = modulation.modulate(view)
  if tensor.param is not None:
    u = u + settings.weight_decay * _numerics.upcast(tensor.param, dtype)
  if homeostasis is not None:
    u = u * _homeostasis.factor(
      view.norm(u),
      reductions.size(u),
      homeostasis,
      _numbers.cast(tensor.target_rms_scale, dtype),
      settings.eps,
    )
  if moments is not None:
    moments = jax.tree.map(_numerics.downcast, moments, tensor.moments)
  return _numerics.downcast(u, base_update), moments


def _zero_moments(params: optax.Params, state_dtype: Any) -> tuple[Any, ...]:
  """The moments (a, m, v) before the first update."""

  def zeros(leaf: Any, *, real: bool) -> jax.Array:
    dtype = _numerics.moment_dtype(jnp.result_type(leaf), state_dtype)
    if real:
      dtype = _numerics.real_dtype(dtype)
    # The dtype is given so that no state is weakly typed.
    return jnp.zeros_like(leaf, dtype=dtype)

  return tuple(
    jax.tree.map(functools.partial(zeros, real=real), params)
    for real in (True, False, True)
  )


def neuroplastic(
  base: optax.GradientTransformation | None = None,
  *,
  modulation: modulations.Modulation = modulations.Direct(),
  homeostasis: _homeostasis.Homeostasis | Literal['auto'] | None = 'auto',
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
  state_dtype: jax.typing.DTypeLike | None = None,
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
    state_dtype: floating dtype of the moments; None for that of the params.
    eps: ε > 0.

  Returns:
    A gradient transformation with a `NeuroplasticState`. Its `update` needs
    the params where weight decay is not a constant 0, or the base needs them.

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
  settings = _Settings(
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
  rule = _Rule(
    settings,
    _check_modulation(modulation),
    _resolve_homeostasis(homeostasis, base),
  )
  _trees.check_mask('weight_decay_mask', weight_decay_mask)
  state_dtype = _numerics.check_state_dtype(state_dtype)
  inner = optax.with_extra_args_support(_check_base(base))
  reductions = _reductions.Reductions()
  decays = not _numbers.is_zero(weight_decay)

  def init_fn(params: optax.Params) -> NeuroplasticState:
    flat = _trees.flatten(params)
    _trees.check_inexact('params', flat)
    _trees.mask('weight_decay_mask', weight_decay_mask, flat)
    if rule.homeostasis is not None:
      rule.homeostasis.scales(flat)
    moments: tuple[Any, ...] = (None, None, None)
    if not gradient_only:
      moments = _zero_moments(params, state_dtype)
    activity, memory_mu, memory_nu = moments
    return NeuroplasticState(
      count=jnp.zeros([], jnp.int32),
      activity=activity,
      memory_mu=memory_mu,
      memory_nu=memory_nu,
      base=inner.init(params),
      diagnostics=None,
    )

  def update_fn(
    updates: optax.Updates,
    state: NeuroplasticState,
    params: optax.Params | None = None,
    **extra_args: Any,
  ) -> tuple[optax.Updates, NeuroplasticState]:
    if decays and params is None:
      raise ValueError(
        'neuroplastic with weight_decay needs the params: call '
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
    decaying = [False] * len(flat.leaves)
    if decays:
      decaying = _trees.mask('weight_decay_mask', weight_decay_mask, like)
    scales: list[Any] = [None] * len(flat.leaves)
    if rule.homeostasis is not None:
      scales = rule.homeostasis.scales(like)
    now = rule.at(state.count)

    new_updates, new_moments = [], []
    for g, b, p, decay, scale, *old in zip(
      flat.leaves,
      flat.align('the updates of the base', base_updates),
      like.leaves,
      decaying,
      scales,
      flat.align('state.activity', state.activity),
      flat.align('state.memory_mu', state.memory_mu),
      flat.align('state.memory_nu', state.memory_nu),
      strict=True,
    ):
      u: Any = b
      new: _signals.Moments | None = _signals.Moments(*old)
      if g is not None:
        tensor = _Tensor(
          gradient=jnp.asarray(g),
          base_update=jnp.asarray(b),
          param=jnp.asarray(p) if decay else None,
          moments=None if gradient_only else new,
          target_rms_scale=scale,
        )
        u, new = _update_tensor(tensor, now, reductions)
      new_updates.append(u)
      new_moments.append(new)

    def moment(name: str) -> Any:
      if gradient_only:
        return None
      return flat.unflatten([getattr(new, name) for new in new_moments])

    return flat.unflatten(new_updates), NeuroplasticState(
      count=optax.safe_increment(state.count),
      activity=moment('activity'),
      memory_mu=moment('mu'),
      memory_nu=moment('nu'),
      base=base_state,
      diagnostics=None,
    )

  return optax.GradientTransformationExtraArgs(init_fn, update_fn)


def check_switch(name: str, value: Any) -> None:
  """Refuses what is no Python bool, by name."""
  if not isinstance(value, bool):
    raise TypeError(f'{name} must be True or False, got {value!r}.')


def _check_modulation(modulation: Any) -> modulations.Modulation:
  if not isinstance(modulation, modulations.Modulation):
    raise TypeError(
      'modulation must be one of neuroplastic_optax.modulations, such as '
      f'Direct(), got {modulation!r}.'
    )
  return modulation


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
