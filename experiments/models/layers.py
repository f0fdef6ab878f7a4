"""Layers that several models have, initialised as published."""

import math
from typing import Any

from flax import nnx
import jax


def dense(fan_in: int, fan_out: int, rngs: nnx.Rngs) -> nnx.Linear:
  """A dense layer, initialised as the published program's framework does.

  Weights and biases are uniform in ±1/√fan_in. The norm clip of homeostasis
  bounds how far a step goes, so that the scale of the start matters.
  """

  def uniform(key: jax.Array, shape: Any, dtype: Any, **_: Any) -> jax.Array:
    bound = 1 / math.sqrt(fan_in)
    return jax.random.uniform(key, shape, dtype, -bound, bound)

  return nnx.Linear(
    fan_in, fan_out, kernel_init=uniform, bias_init=uniform, rngs=rngs
  )
