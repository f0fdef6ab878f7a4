"""The complete optimizer: direction, sign and learning rate."""

from collections.abc import Callable
from typing import Any, Literal

import jax
import optax

from neuroplastic_optax import _arrays
from neuroplastic_optax import _descent
from neuroplastic_optax import _keywords
from neuroplastic_optax import _neuroplastic
from neuroplastic_optax import _numbers
from neuroplastic_optax import _stages
from neuroplastic_optax import _trees
from neuroplastic_optax import _types
from neuroplastic_optax import modulations


def _at_full_precision(
  inner: optax.GradientTransformation,
) -> optax.GradientTransformation:
  """`inner` in at least float32; updates get their dtype back.

  Optax multiplies an update by a learning rate as they are: a float32 array
  times a bfloat16 update is float32, and a bfloat16 rate would round. Where
  promotion is strict, it cannot multiply them at all.
  """

  def widened(tree: Any) -> Any:
    return jax.tree.map(
      lambda x: _arrays.upcast(x, _arrays.compute_dtype(x)), tree
    )

  def update_fn(
    updates: _types.Updates,
    state: _types.OptState,
    params: _types.Params | None = None,
  ) -> tuple[_types.Updates, _types.OptState]:
    with jax.numpy_dtype_promotion('standard'):
      wide, state = inner.update(widened(updates), state, widened(params))
    return jax.tree.map(_arrays.downcast, wide, updates), state

  return optax.GradientTransformation(inner.init, update_fn)


@_keywords.suggests_names
def neuroplastic_optimizer(
  learning_rate: _types.ScalarOrSchedule,
  *,
  base: optax.GradientTransformation | None = None,
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
  decoupled_weight_decay: bool = False,
  weight_decay_mask: Any | Callable[[_types.Params], Any] | None = None,
  stacked_axes: Any = None,
  axis_name: Any = None,
  state_dtype: _types.DTypeLike | None = None,
  diagnostics: Literal['global', 'per_leaf'] | None = None,
  eps: _types.ArrayLike = 1e-8,
) -> optax.GradientTransformationExtraArgs:
  """The NeuroPlastic optimizer, complete with learning rate and sign.

  It computes the direction u of `neuroplastic` and returns the update

      Δθ = -η·u

  where η is the learning rate. Use it as you would use `optax.adam(1e-3)`. See
  `neuroplastic` for the equations. Updates keep their dtype, whatever the dtype
  of the learning rate.

  Args:
    learning_rate: η, a number or a schedule of the update count.
    base: the transformation whose update is modulated. It is a direction,
      without learning rate and sign, such as `optax.scale_by_adam()` and not
      `optax.adam(1e-3)`. None for the identity.
    modulation: the rule by which α acts on the update of the base.
    homeostasis: the bounds on the update of each tensor, or None for no bounds.
      "auto" means `Homeostasis()` without a base and None over one.
    controller: a `LearningRateController`, which multiplies the direction by
      what α says, but not a decoupled decay. None for no controller.
    gradient_only: whether α = α_grad, an ablation.
    activity_weight: w_a ≥ 0, the weight of the activity signal.
    gradient_weight: w_g ≥ 0, the weight of the gradient signal.
    memory_weight: w_m ≥ 0, the weight of the memory signal.
    activity_decay: ρ in [0, 1), the decay of the activity a.
    memory_b1: β₁ in [0, 1), the decay of m.
    memory_b2: β₂ in [0, 1), the decay of v.
    min_alpha: α_min ≥ 0, the lower bound of α_grad and α_full.
    max_alpha: α_max ≥ α_min, their upper bound.
    plasticity_scale: κ ≥ 0, or a schedule of the update count.
    parameterwise: whether there is one α per element (True) or one per tensor
      (False).
    weight_decay: λ ≥ 0, or a schedule of the update count. The learning rate
      multiplies the decay, coupled or decoupled.
    decoupled_weight_decay: whether λ·θ is added after homeostasis (True), as in
      `optax.adamw`, or before it (False).
    weight_decay_mask: the leaves that decay, as in `optax.add_decayed_weights`;
      None for all leaves.
    stacked_axes: how many leading axes of a leaf index independent tensors.
    axis_name: the mesh axis name or names over which tensors are split inside
      `shard_map` or `pmap`.
    state_dtype: the floating dtype of the moments; None for that of the params.
    diagnostics: "global" or "per_leaf" to keep statistics of the last update
      in the state, for `get_diagnostics`.
    eps: ε > 0.

  Returns:
    A gradient transformation.

  Raises:
    TypeError: an argument has the wrong type.
    ValueError: a Python or NumPy number is out of range. `init` raises it for
      a base that is seen to descend already, which the sign would make climb.

  Examples:
    >>> import jax
    >>> import jax.numpy as jnp
    >>> import optax
    >>> from neuroplastic_optax import neuroplastic_optimizer
    >>> f = lambda x: jnp.sum(x**2)
    >>> tx = neuroplastic_optimizer(learning_rate=0.1)
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

  def checked(name: str, value: Any, allowed: _numbers.Number) -> Any:
    """A number; or a schedule, of which the values are checked, too."""
    allowed.scheduled.check(name, value)
    if not callable(value):
      # JAX promotes no NumPy number of 8 bits or fewer.
      return float(value) if _numbers.is_known(value) else value
    return lambda count: _numbers.value_at(name, value, count)

  def decayed(params: _types.Params) -> Any:
    """The mask with its leaves checked: Optax takes whatever is truthy."""
    flat = _trees.flatten(params)
    return flat.unflatten(
      _trees.mask('weight_decay_mask', weight_decay_mask, flat)
    )

  rate = checked('learning_rate', learning_rate, _numbers.REAL)
  _numbers.check_switch('decoupled_weight_decay', decoupled_weight_decay)
  direction = _neuroplastic.neuroplastic(
    base,
    modulation=modulation,
    homeostasis=homeostasis,
    controller=controller,
    gradient_only=gradient_only,
    activity_weight=activity_weight,
    gradient_weight=gradient_weight,
    memory_weight=memory_weight,
    activity_decay=activity_decay,
    memory_b1=memory_b1,
    memory_b2=memory_b2,
    min_alpha=min_alpha,
    max_alpha=max_alpha,
    plasticity_scale=plasticity_scale,
    parameterwise=parameterwise,
    weight_decay=0.0 if decoupled_weight_decay else weight_decay,
    weight_decay_mask=None if decoupled_weight_decay else weight_decay_mask,
    stacked_axes=stacked_axes,
    axis_name=axis_name,
    state_dtype=state_dtype,
    diagnostics=diagnostics,
    eps=eps,
  )
  steps = []
  if decoupled_weight_decay:
    decay = checked('weight_decay', weight_decay, _numbers.NON_NEGATIVE)
    _trees.check_mask('weight_decay_mask', weight_decay_mask)
    mask = None if weight_decay_mask is None else decayed
    steps.append(optax.add_decayed_weights(decay, mask))
  steps.append(optax.scale_by_learning_rate(rate))
  chain = optax.chain(direction, *map(_at_full_precision, steps))
  if base is None:
    return chain

  # Here and not when it is built: `optax.inject_hyperparams` builds it again
  # at every update.
  def init_fn(params: _types.Params) -> _types.OptState:
    state = chain.init(params)
    _descent.refuse(base, params)
    return state

  return optax.GradientTransformationExtraArgs(init_fn, chain.update)
