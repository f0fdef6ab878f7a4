"""Any floating dtype, complex ones too, and numbers at their ends."""

import chex
import jax
import jax.numpy as jnp
import pytest

from neuroplastic_optax import neuroplastic
from tests.trees import PARAMS

# What is of which dtype.


@pytest.mark.parametrize('dtype', ['bfloat16', 'float16'])
def test_float32_numbers_of_low_precision_params(dtype):
  # 0.999 is 1 in bfloat16, 1e-8 is 0 in float16.
  numbers = dict(
    memory_b2=0.999, activity_decay=0.99, eps=1e-8, weight_decay=1e-4
  )
  params = jax.tree.map(lambda p: (p * 0.3).astype(dtype), PARAMS)
  python = neuroplastic(**numbers)
  arrays = neuroplastic(**jax.tree.map(jnp.float32, numbers))
  chex.assert_trees_all_close(
    arrays.update(params, arrays.init(params), params),
    python.update(params, python.init(params), params),
    rtol=float(jnp.finfo(dtype).eps),
  )
