"""The examples in docstrings run, and everything public has one."""

import doctest
import importlib
import inspect
import pkgutil

import pytest

import neuroplastic_optax

MODULES = sorted(
  module.name
  for module in pkgutil.walk_packages(
    neuroplastic_optax.__path__, 'neuroplastic_optax.'
  )
)


def _public():
  """The names that users call, with what they stand for."""
  for name in neuroplastic_optax.__all__:
    value = getattr(neuroplastic_optax, name)
    if not inspect.ismodule(value):
      yield name, value
      continue
    for inner, part in vars(value).items():
      defined_there = getattr(part, '__module__', None) == value.__name__
      if defined_there and not inner.startswith('_'):
        yield f'{name}.{inner}', part


PUBLIC = dict(_public())


@pytest.mark.parametrize('name', MODULES)
def test_examples_run(name):
  module = importlib.import_module(name)
  assert module.__doc__, f'{name} has no docstring'
  assert not doctest.testmod(module).failed


def _examples(value):
  return doctest.DocTestFinder(recurse=False).find(value, 'it')[0].examples


# What needs no example of its own: it appears in those of others, or is only
# read.
WITHOUT = {
  'NeuroplasticState', 'modulations.Modulation', 'modulations.Tensor',
  'schedules.epoch',
}  # fmt: skip


@pytest.mark.parametrize('name', sorted(PUBLIC.keys() - WITHOUT))
def test_public_names_have_examples(name):
  assert _examples(PUBLIC[name]), f'the docstring of {name} has no example'


@pytest.mark.parametrize('name', sorted(PUBLIC.keys() - {'schedules.epoch'}))
def test_public_functions_document_every_argument(name):
  value = PUBLIC[name]
  doc = inspect.getdoc(value)
  section = 'Attributes:' if inspect.isclass(value) else 'Args:'
  arguments = [
    parameter
    for parameter in inspect.signature(value).parameters
    if parameter not in ('args', 'kwargs')
  ]
  missing = [name for name in arguments if f'\n  {name}: ' not in doc]
  assert not missing, f'{name} does not say what {missing} are'
  assert section in doc or not arguments
