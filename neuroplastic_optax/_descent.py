"""Whether a base already descends, so that a minus sign would make it climb.

A base is asked: at params and gradients of 1, an update below 0 descends.
"""

import contextlib
from typing import Any

import jax
import jax.numpy as jnp
import optax

from neuroplastic_optax import _types

# A schedule may begin at 0, and some bases act only at every n-th update.
_UPDATES = 8


def refuse(base: optax.GradientTransformation, params: _types.Params) -> None:
  """Refuses a base that is seen to descend.

  Only what is certain is refused: every leaf that moves goes down, and the
  gradient is the reason. A base that cannot be asked is let through, for
  example one that needs extra args of its own, or whose numbers are being
  traced.

  Args:
    base: the base.
    params: the params, of which only structure, ranks and dtypes are used.

  Raises:
    ValueError: the base descends.
  """
  if not _descends(optax.with_extra_args_support(base), params):
    return
  raise ValueError(
    'base must be a direction, without a learning rate and a minus sign, but '
    'this one already descends, and neuroplastic_optimizer would turn it '
    'around: instead of base=optax.adamw(1e-3), write '
    'neuroplastic_optimizer(1e-3, base=optax.scale_by_adam(), '
    'weight_decay=1e-4, decoupled_weight_decay=True), or undo the sign with '
    'base=optax.chain(base, optax.scale(-1.0)).'
  )


def _descends(
  base: optax.GradientTransformationExtraArgs, params: _types.Params
) -> bool:
  # Whatever goes wrong in a base of which nothing is known only means that it
  # cannot be asked. If it is at fault, its first true update says so.
  with contextlib.suppress(Exception):
    # As a rule a few leaves show that a base does not descend.
    if _rises(_first_moves(base, _one_of_each_rank(params), 1.0)):
      return False
  with contextlib.suppress(Exception):
    moves = [each for each in _moves(base, params, 1.0) if any(each)]
    if not moves or any(map(_rises, moves)):
      return False
    # A decay or noise may also be below 0, but the gradient's sign does not
    # change them.
    opposite = _first_moves(base, params, -1.0)
    pairs = zip(moves[0], opposite, strict=True)
    return all(up > down for down, up in pairs if down != 0)
  return False


def _rises(moves: list[float]) -> bool:
  return max(moves, default=0.0) > 0


def _one_of_each_rank(params: _types.Params) -> _types.Params:
  """The first leaf of each rank, in its place; all others masked."""
  seen = set()

  def keep(leaf: Any) -> Any:
    rank = jnp.ndim(leaf)
    if rank in seen:
      return optax.MaskedNode()
    seen.add(rank)
    return leaf

  return jax.tree.map(keep, params)


def _first_moves(
  base: optax.GradientTransformationExtraArgs,
  params: _types.Params,
  gradient: float,
) -> list[float]:
  """The first update that is not 0, as `_moves` gives it."""
  return _moves(base, params, gradient, first=True)[-1]


def _moves(
  base: optax.GradientTransformationExtraArgs,
  params: _types.Params,
  gradient: float,
  *,
  first: bool = False,
) -> list[list[float]]:
  """The first updates: of each, a number for each leaf.

  The leaves have one element each, and the paths and ranks of those of the
  params, by which a base may tell them apart.

  Args:
    base: the base.
    params: the params.
    gradient: what all elements of the gradient are.
    first: whether to end with the first update that is not 0.

  Raises:
    Exception: anything, if the base cannot be asked.
  """

  def filled(value: float) -> Any:
    return jax.tree.map(
      lambda x: jnp.full((1,) * jnp.ndim(x), value, jnp.result_type(x)), params
    )

  # Evaluated at once under `jit` too, so that nothing is left in the program,
  # and operation by operation, since nothing is worth compiling here. Optax's
  # Adam does not work where promotion is strict.
  with (
    jax.ensure_compile_time_eval(),
    jax.disable_jit(),
    jax.numpy_dtype_promotion('standard'),
  ):
    ones, gradients = filled(1.0), filled(gradient)
    state = base.init(ones)
    moves: list[list[float]] = []
    for _ in range(_UPDATES):
      updates, state = base.update(
        gradients, state, ones, value=jnp.ones([], jnp.float32)
      )
      moves.append([float(jnp.sum(x).real) for x in jax.tree.leaves(updates)])
      if first and any(moves[-1]):
        break
  return moves
