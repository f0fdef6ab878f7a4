"""M-SVAG: momentum, damped where the gradient's variance is large."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax


class ScaleByMSvagState(NamedTuple):
  """The state of M-SVAG.

  Attributes:
    count: updates so far, int32 [].
    mu: the average of g, without bias correction; a tree like the params.
    nu: the average of g², likewise.
  """

  count: jax.Array  # type: ignore[assignment]  # tuple.count is a method.
  mu: optax.Updates
  nu: optax.Updates


def scale_by_m_svag(
  beta: jax.typing.ArrayLike = 0.9,
) -> optax.GradientTransformation:
  """The momentum variant of the stochastic variance-adapted gradient.

  Both averages have the same β, and t counts updates from 1:

      m = Σ (1-β)·βᵗ⁻ⁱ·gᵢ / (1 - βᵗ)           the mean, v that of g²
      ρ = (1-β)(1 + βᵗ) / ((1+β)(1 - βᵗ))      how much of the variance m has
      s = (v - m²) / (1 - ρ)                   the variance of g
      γ = m² / (m² + ρ·s)
      u = γ ⊙ m

  (The paper counts from 0, and so has t+1 in these places.) At the first update
  ρ is 1 and s is not defined; v = m² there, and s is taken as 0, so that u = g.
  Where m is 0, so is u. Where rounding makes v - m² negative, it is 0.

  The authors have β = 0.9 and tune the learning rate; they regularise the
  objective by its L2 norm, so that a decay belongs before this transformation,
  which is without a learning rate or a sign.

  References:
    Balles & Hennig, `Dissecting Adam: The Sign, Magnitude and Variance of
    Stochastic Gradients <https://arxiv.org/abs/1705.07774>`_, 2018
  """

  def init_fn(params: optax.Params) -> ScaleByMSvagState:
    zeros = optax.tree.zeros_like(params)
    return ScaleByMSvagState(jnp.zeros([], jnp.int32), zeros, zeros)

  def update_fn(
    updates: optax.Updates,
    state: ScaleByMSvagState,
    params: optax.Params | None = None,
  ) -> tuple[optax.Updates, ScaleByMSvagState]:
    del params
    mu = optax.tree.update_moment(updates, state.mu, beta, 1)
    nu = optax.tree.update_moment(updates, state.nu, beta, 2)
    count = optax.safe_increment(state.count)
    power = beta**count
    rho = (1 - beta) * (1 + power) / ((1 + beta) * (1 - power))
    first = state.count == 0
    # ρ / (1 - ρ): what the variance of m is, as a multiple of v - m².
    odds = jnp.where(first, 0.0, rho / jnp.where(first, 1.0, 1 - rho))

    def adapted(m: jax.Array, v: jax.Array) -> jax.Array:
      square = m**2
      total = square + (odds * jnp.maximum(v - square, 0)).astype(m.dtype)
      return m * jnp.where(
        total > 0, square / jnp.where(total > 0, total, 1), 0
      )

    scaled = jax.tree.map(
      adapted,
      optax.tree.bias_correction(mu, beta, count),
      optax.tree.bias_correction(nu, beta, count),
    )
    return scaled, ScaleByMSvagState(count, mu, nu)

  return optax.GradientTransformation(init_fn, update_fn)
