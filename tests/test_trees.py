"""Trees and masks that do not fit are refused, those that fit act."""

import chex
import numpy as np

from neuroplastic_optax import neuroplastic
from tests.problems import problem
from tests.running import all_updates

# Masks.


def test_a_mask_may_be_a_prefix_or_a_function():
  params, gradients = problem(6, 2)
  masks = [
    {'layer': True, 'scale': False},
    {'layer': {'w': True, 'b': True}, 'scale': False},
    {'layer': np.bool_(True), 'scale': np.bool_(False)},
    lambda params: {'layer': True, 'scale': params['scale'].ndim > 0},
  ]
  first, *others = (
    all_updates(
      neuroplastic(weight_decay=0.1, weight_decay_mask=mask),
      params,
      gradients,
    )[0]
    for mask in masks
  )
  for other in others:
    chex.assert_trees_all_equal(other, first)
  for constant in (True, False):
    masked, _ = all_updates(
      neuroplastic(
        weight_decay=0.1,
        weight_decay_mask=lambda _, constant=constant: constant,
      ),
      params,
      gradients,
    )
    expected, _ = all_updates(
      neuroplastic(weight_decay=0.1 * constant), params, gradients
    )
    chex.assert_trees_all_equal(masked, expected)
