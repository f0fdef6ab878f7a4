"""Optax's own conformance tests, over other optimizers.

They ship in Optax's wheel, each a module whose list of optimizers is bound by
decorators while it is imported. So the source is compiled anew with another
list in place of theirs, and only what runs over that list is kept.
"""

import ast
import importlib.util
import os
import re

import pytest


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


def load(owner, variants, module, case, pinned, drop=()):
  """A test case of an Optax test module, over other optimizers.

  Args:
    owner: the name of the module that tests them.
    variants: the names of the optimizers.
    module: the module's name.
    case: the name of its `TestCase`.
    pinned: what names of the module are to be, instead of what it binds.
    drop: tests that are not over the list of optimizers, or repeated.

  Returns:
    The class. It has no test but those over our optimizers.
  """
  path = importlib.util.find_spec(module).origin
  with open(path, encoding='utf-8') as file:
    tree = ast.parse(file.read(), path)
  bound = set().union(*map(_bound_names, tree.body))
  missing = (set(pinned) | {case}) - bound
  assert not missing, f'{module} no longer has {missing}'
  tree.body = [n for n in tree.body if not _bound_names(n) & set(pinned)]
  tree = _NoVersionChecks().visit(tree)
  namespace = {'__name__': f'{owner}.{case}', '__file__': path} | pinned
  environment = dict(os.environ)
  try:
    exec(compile(tree, path, 'exec'), namespace)
  finally:
    # The module on sharding sets XLA_FLAGS; it is too late for this process
    # and no business of the next.
    os.environ.clear()
    os.environ.update(environment)
  test_case = namespace[case]
  test_case.__module__ = owner
  # What is skipped there, is so for other optimizers or an older JAX.
  test_case.skipTest = lambda self, reason: self.fail(f'skipped: {reason}')
  for name in names_of(test_case):
    if family(name, variants) in drop:
      delattr(test_case, name)
    elif (
      family(name, variants) in ('test_optimization', 'test_optimizers')
      or 'default' not in name
    ):
      # Tens of thousands of updates, or many compilations.
      pytest.mark.slow(getattr(test_case, name))
  return test_case


def names_of(test_case):
  return [name for name in dir(test_case) if name.startswith('test')]


def family(name, variants):
  """The name of a test as written, without what its parameters add."""
  stem = re.fullmatch(r'(test_\w*?)(_?\d+)?', name).group(1)
  for variant in variants:
    stem = stem.removesuffix(f'_{variant}')
  return stem
