"""Functions that `inject_hyperparams` would take for schedules."""

import functools
import inspect

import chex
import jax
import optax
import pytest

from neuroplastic_optax import neuroplastic
from neuroplastic_optax import neuroplastic_optimizer
from neuroplastic_optax import scopes
from tests.running import trained
from tests.trees import is_matrix
from tests.trees import random_tree
from tests.trees import random_trees

PARAMS = random_tree(0)


def _leading(path, leaf):
  """As of scanned layers."""
  return int('kernel' in str(path))


def _by_name(params):
  """A mask that fails in its own way when it gets a count."""
  return {**jax.tree.map(lambda p: False, params), 'dense': True}


FUNCTIONS = [
  ('stacked_axes', _leading),
  ('axis_name', lambda path, leaf: None),
  ('weight_decay_mask', is_matrix),
  ('weight_decay_mask', _by_name),
  ('weight_decay_mask', scopes.matching('kernel')),
]
each_function = pytest.mark.parametrize(('name', 'function'), FUNCTIONS)


@each_function
@pytest.mark.parametrize(
  'make',
  [
    functools.partial(neuroplastic_optimizer, 0.1, weight_decay=0.1),
    functools.partial(neuroplastic, weight_decay=0.1),
  ],
)
def test_a_function_is_refused_in_words(make, name, function):
  message = f"{name} is a function.*static_args='{name}'.*lambda learning_rate"
  injected = optax.inject_hyperparams(make)(**{name: function})
  for init in (injected.init, jax.jit(injected.init)):
    with pytest.raises(TypeError, match=message):
      init(PARAMS)
  # Also where it is bound before.
  bound = functools.partial(make, **{name: function})
  with pytest.raises(TypeError, match=message):
    optax.inject_hyperparams(bound)().init(PARAMS)


@each_function
def test_what_the_message_says_works(name, function):
  plain = neuroplastic_optimizer(0.1, weight_decay=0.1, **{name: function})
  static = optax.inject_hyperparams(neuroplastic_optimizer, static_args=name)
  closed = optax.inject_hyperparams(
    lambda learning_rate, weight_decay: neuroplastic_optimizer(
      learning_rate, weight_decay=weight_decay, **{name: function}
    )
  )
  gradients = random_trees(2)
  expected, _ = trained(plain, PARAMS, gradients)
  for tx in (
    static(0.1, weight_decay=0.1, **{name: function}),
    closed(0.1, 0.1),
  ):
    actual, _ = trained(tx, PARAMS, gradients)
    chex.assert_trees_all_close(actual, expected, rtol=1e-5, atol=1e-6)


def test_an_integer_is_refused_in_words():
  tx = optax.inject_hyperparams(neuroplastic_optimizer)(0.1, stacked_axes=1)
  with pytest.raises(TypeError, match="static_args='stacked_axes'"):
    tx.init(PARAMS)


def test_bound_functions_are_otherwise_as_they_were():
  bound = inspect.signature(neuroplastic).bind(stacked_axes=_leading)
  tx = neuroplastic(*bound.args, **bound.kwargs)
  gradients = random_trees(2)
  chex.assert_trees_all_equal(
    trained(tx, PARAMS, gradients),
    trained(neuroplastic(stacked_axes=_leading), PARAMS, gradients),
  )
