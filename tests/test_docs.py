"""The examples in docstrings run, and everything public has one."""

import doctest
import importlib
import inspect
import pathlib
import pkgutil
import re
import textwrap

import chex
import jax
import jax.numpy as jnp
import optax
import pytest

from experiments import optimizers
from experiments.configs.default import Config
from experiments.data import streams
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
    for inner in value.__all__:
      yield f'{name}.{inner}', getattr(value, inner)


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


WITHOUT |= {name for name in PUBLIC if re.match(r'mechanisms\.\w+State$', name)}


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


ROOT = pathlib.Path(__file__).parents[1]
README = (ROOT / 'README.md').read_text()


def _blocks(text):
  """The blocks of Python in a page, without what indents them in a list."""
  blocks = re.findall(r'```python\n(.*?)```', text, flags=re.DOTALL)
  return [textwrap.dedent(block) for block in blocks]


BLOCKS = _blocks(README)
# A row: what, in the paper, lines of code.
ROWS = re.findall(
  r'^\| ([^|]+) \| [^|]+ \| (`tx = .*|`.*<br>.*) \|$', README, re.M
)


def test_the_blocks_of_the_readme_run_one_after_another(capsys):
  assert len(BLOCKS) == 8
  names = {}
  for block in BLOCKS:
    exec(block, names)
  assert float(capsys.readouterr().out) > 0


def test_the_setting_for_streams_is_that_of_the_results():
  (block,) = (each for each in BLOCKS if 'class AtTheNormOfTheBase' in each)
  names = {}
  exec(block, names)
  arm = optimizers.ARMS['unit_rms_no_clip']
  stream = streams.STREAMS['permuted_labels']
  setting = optimizers.Context(
    epochs=stream.tasks,
    steps_per_epoch=stream.images // stream.batch_size,
    warmup_epochs=Config().warmup_epochs,
  )
  published = arm.build(arm.values({}), setting)
  params = {'kernel': jnp.linspace(-1.0, 2.0, 12).reshape(4, 3)}
  noise = jax.random.normal(jax.random.key(0), (2000, 4, 3)) ** 3

  def updates(tx):
    def step(state, gradient):
      updates, state = tx.update({'kernel': gradient}, state, params)
      return state, updates

    return jax.lax.scan(step, tx.init(params), noise)[1]

  # κ is warm after 1250 of them.
  chex.assert_trees_all_close(updates(names['tx']), updates(published))


# What the table of arms says of families of them.
_FAMILIES = (
  r'(direct|gain|momentum|trust_ratio)_(sgdm|adam|muon)(_homeostasis)?',
  r'unit_rms_(sgdm|adam|muon)',
  r'gain_adam_(middle|late|late_blocks)',
  r'signal_(activity|gradient|memory|activity_gradient|gradient_memory)',
  r'(unit_mean|shuffled)_no_clip',
)


def test_the_readme_names_every_arm():
  table = README.split('These are the arms.')[1].split('The run directory')[0]
  named = set(re.findall(r'`([a-z0-9_]+)`', table))
  family = re.compile('|'.join(_FAMILIES))
  missing = [
    arm
    for arm in optimizers.ARMS
    if arm not in named and not family.fullmatch(arm)
  ]
  assert not missing
  rules = ('direct', 'gain', 'momentum', 'trust_ratio')
  assert named <= {*optimizers.ARMS, *rules}


def test_the_readme_has_the_design_space():
  assert len(ROWS) == 14


@pytest.mark.parametrize('row', range(len(ROWS)), ids=lambda i: ROWS[i][0])
def test_a_row_of_the_design_space_trains(row):
  names = {'optax': optax}
  (imports,) = (block for block in BLOCKS if 'scopes' in block)
  exec(imports, names)
  for line in re.findall(r'`([^`]+)`', ROWS[row][1]):
    exec(line, names)
  params = {'kernel': jnp.ones((3, 2)), 'bias': jnp.zeros(2)}
  tx = names['tx']
  state = tx.init(params)
  updates, state = jax.jit(tx.update)(params, state, params)
  assert jax.tree.map(jnp.shape, updates) == jax.tree.map(jnp.shape, params)
  assert all(jnp.isfinite(x).all() for x in jax.tree.leaves(updates))
  assert jnp.any(updates['kernel'])


def test_the_example_of_a_rule_in_the_build_notes_runs():
  (block,) = _blocks((ROOT / 'BUILD.md').read_text())
  names = {'__name__': __name__}
  exec(block, names)
  tx, params = names['tx'], jnp.array([1.0, -2.0])
  updates, _ = tx.update(params, tx.init(params), params)
  assert jnp.all(updates * params > 0)
