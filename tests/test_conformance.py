"""Optax's own conformance tests, over this optimizer.

They ship in Optax's wheel, each a module whose list of optimizers is bound by
decorators while it is imported. So the source is compiled anew with another
list in place of theirs, and only what runs over that list is kept.
"""

import ast
import importlib.util
import os
import re

import jax
import optax
import pytest

from neuroplastic_optax import neuroplastic_optimizer
from neuroplastic_optax import schedules

# Rosenbrock's valley is long for steps of norm 1 at most, and steep at its
# sides: this many units of 1e-3 reach its end in 10,000 steps and stay there.
RATE = 2.5e-3
VARIANTS = {
  'default': dict(learning_rate=RATE),
  'gradient_only': dict(learning_rate=RATE, gradient_only=True),
  'decay_and_state_dtype': dict(
    learning_rate=RATE, weight_decay=1e-4, state_dtype='bfloat16'
  ),
  'momentum_and_schedule': dict(
    learning_rate=1e-3,
    base=optax.trace(0.9),
    plasticity_scale=schedules.epoch_warmup(2.0, 2, 100),
    weight_decay=1e-4,
    decoupled_weight_decay=True,
  ),
}
_ENTRIES = tuple(
  {'opt_name': name, 'opt_kwargs': kwargs} for name, kwargs in VARIANTS.items()
)
_WRAPPED_ENTRIES = tuple(
  entry | {'wrapper_name': None, 'wrapper_kwargs': None} for entry in _ENTRIES
)


_factory = lambda *_: neuroplastic_optimizer


def _bound_names(node):
  """The names that a statement at the top of a module binds."""
  if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
    return {node.name}
  if isinstance(node, (ast.Assign, ast.AugAssign)):
    targets = node.targets if isinstance(node, ast.Assign) else [node.target]
    return {target.id for target in targets if isinstance(target, ast.Name)}
  return set()


class _NoVersionChecks(ast.NodeTransformer):
  """Drops `if jax.__version__ < …`, in which '0.10.2' is less than '0.7.2'."""

  def visit_If(self, node):
    return None if 'jax.__version__' in ast.unparse(node.test) else node


def _load(module, case, pinned, drop=()):
  """A test case of an Optax test module, over our optimizers.

  Args:
    module: the module's name.
    case: the name of its `TestCase`.
    pinned: what names of the module are to be, instead of what it binds.
    drop: tests that are not over the list of optimizers, or repeated.
  """
  path = importlib.util.find_spec(module).origin
  with open(path, encoding='utf-8') as file:
    tree = ast.parse(file.read(), path)
  bound = set().union(*map(_bound_names, tree.body))
  missing = (set(pinned) | {case}) - bound
  assert not missing, f'{module} no longer has {missing}'
  tree.body = [n for n in tree.body if not _bound_names(n) & set(pinned)]
  tree = _NoVersionChecks().visit(tree)
  namespace = {'__name__': f'{__name__}.{case}', '__file__': path} | pinned
  environment = dict(os.environ)
  try:
    exec(compile(tree, path, 'exec'), namespace)
  finally:
    # The module on sharding sets XLA_FLAGS; it is too late for this process
    # and no business of the next.
    os.environ.clear()
    os.environ.update(environment)
  test_case = namespace[case]
  test_case.__module__ = __name__
  # What is skipped there, is so for other optimizers or an older JAX.
  test_case.skipTest = lambda self, reason: self.fail(f'skipped: {reason}')
  for name in dir(test_case):
    if not name.startswith('test'):
      continue
    # As written, without what its parameters add.
    family = re.fullmatch(r'(test_\w*?)(_?\d+)?', name).group(1)
    for variant in VARIANTS:
      family = family.removesuffix(f'_{variant}')
    if family in drop:
      delattr(test_case, name)
    elif (
      family in ('test_optimization', 'test_optimizers')
      or 'default' not in name
    ):
      # Tens of thousands of updates, or many compilations.
      pytest.mark.slow(getattr(test_case, name))
  return test_case


AliasTest = _load(
  'optax._src.alias_test',
  'AliasTest',
  {'_OPTIMIZERS_UNDER_TEST': _ENTRIES, '_get_opt': _factory},
  drop={'test_explicit_dtype'},
)
ContribTest = _load(
  'optax.contrib._common_test',
  'ContribTest',
  {
    '_MAIN_OPTIMIZERS_UNDER_TEST': _WRAPPED_ENTRIES,
    '_OTHER_OPTIMIZERS_UNDER_TEST': (),
    '_ALL_OPTIMIZERS_UNDER_TEST': _WRAPPED_ENTRIES,
    '_get_opt_factory': _factory,
  },
  # The same as in the other module, but for fewer dtypes.
  drop={
    'test_gradient_accumulation',
    'test_preserve_dtype',
    'test_state_shape_dtype_shard_stability',
  },
)
ShardingTest = _load(
  'optax._src.sharding_test',
  'ShardingTest',
  {
    'OPTIMIZERS': {
      name: neuroplastic_optimizer(**kwargs)
      for name, kwargs in VARIANTS.items()
    }
  },
  drop={
    'test_microbatch_with_explicit_sharding_replicated',
    'test_microbatch_with_explicit_sharding_sharded',
  },
)
if jax.device_count() < 8:
  ShardingTest = pytest.mark.skip('needs eight devices')(ShardingTest)
