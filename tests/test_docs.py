"""The examples of docstrings and pages run; pages are short and up to date."""

import dataclasses
import doctest
import importlib
import inspect
import pathlib
import pkgutil
import re

import chex
import jax
import jax.numpy as jnp
import optax
import pytest

from experiments import optimizers
from experiments.configs.default import Config
from experiments.data import streams
import neuroplastic_optax

MODULES = [
  'neuroplastic_optax',
  *(
    module.name
    for module in pkgutil.walk_packages(
      neuroplastic_optax.__path__, 'neuroplastic_optax.'
    )
  ),
]


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
  'NeuroplasticState', 'PerLeaf', 'Statistics', 'modulations.Modulation',
  'modulations.Tensor', 'schedules.epoch', 'units.Seen',
}  # fmt: skip


WITHOUT |= {
  name for name in PUBLIC if re.match(r'(mechanisms|units)\.\w+State$', name)
}


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
    if parameter not in ('args', 'kwargs') and parameter[0] != '_'
  ]
  missing = [name for name in arguments if f'\n  {name}: ' not in doc]
  assert not missing, f'{name} does not say what {missing} are'
  assert section in doc or not arguments


ROOT = pathlib.Path(__file__).parents[1]
README = (ROOT / 'README.md').read_text()
PROGRAMS = (ROOT / 'experiments' / 'README.md').read_text()
RESULTS = (ROOT / 'experiments' / 'results' / 'README.md').read_text()
PAGES = sorted(
  path
  for folder in ('', 'experiments', 'experiments/results', 'experiments/costs')
  for path in (ROOT / folder).glob('*.md')
)


def _run(page):
  """Runs the Python blocks of a page one after another; returns the names."""
  names = {'__name__': __name__}
  for block in re.findall(r'^```python\n(.*?)^```', page, re.DOTALL | re.M):
    exec(block, names)
  return names


def test_readme_blocks_run(capsys):
  names = _run(README)
  assert float(capsys.readouterr().out) > 0
  assert isinstance(names['tx'], optax.MultiSteps)


def test_rule_of_build_notes_runs():
  tx = _run((ROOT / 'BUILD.md').read_text())['tx']
  params = jnp.array([1.0, -2.0])
  updates, _ = tx.update(params, tx.init(params), params)
  assert jnp.all(updates * params > 0)


def test_files_that_build_notes_name_exist():
  notes = (ROOT / 'BUILD.md').read_text()
  names = {
    path.name
    for folder in ('neuroplastic_optax', 'experiments', 'tests')
    for path in (ROOT / folder).rglob('*.py')
  }
  assert set(re.findall(r'`(?:[\w/]*/)?(\w+\.py)`', notes)) <= names


def test_readme_is_short():
  assert len(README.encode()) <= 10_500
  assert len((ROOT / 'BUILD.md').read_bytes()) <= 14_000


def _anchors(text):
  """The anchors that GitHub makes of the headings of a page."""
  headings = re.findall(r'^#+ (.*)$', text, re.MULTILINE)
  return {
    re.sub(r'[^\w -]', '', heading.lower()).replace(' ', '-')
    for heading in headings
  }


@pytest.mark.parametrize('page', PAGES, ids=lambda path: str(path.parent.name))
def test_links_of_pages_lead_somewhere(page):
  for link in re.findall(r'\]\(([^)\s]+)\)', page.read_text()):
    if link.startswith('https://'):
      continue
    name, _, anchor = link.partition('#')
    target = (page.parent / name).resolve() if name else page
    assert target.exists(), link
    if anchor:
      assert anchor in _anchors(target.read_text()), link


# The columns of the README's table of results, and the arms they show.
_COLUMNS = (
  ('sgd',), ('full',), ('unit_rms', 'unit_rms_no_clip'), ('adamw',),
  ('gain_adam',), ('muon', 'schedule_free', 'synaptic_intelligence'),
)  # fmt: skip


def _sections(text):
  """The text under each heading of a page, by anchor."""
  parts = re.split(r'^#+ (.*)$', text, flags=re.MULTILINE)[1:]
  return {
    _anchors(f'# {heading}').pop(): body
    for heading, body in zip(parts[::2], parts[1::2], strict=True)
  }


def test_readme_results_are_those_of_the_results_page():
  sections = _sections(RESULTS)
  rows = re.findall(
    r'^\| \[[^]]+\]\(experiments/results/README\.md#(\S+)\) (.*)\|$',
    README,
    re.MULTILINE,
  )
  assert len(rows) == 7
  for anchor, cells in rows:
    for cell, arms in zip(cells.split('|')[1:], _COLUMNS, strict=True):
      if number := cell.strip().partition(' ')[0]:
        row = rf'^\| `({"|".join(arms)})` \|.* {re.escape(number)} ± .*$'
        assert re.search(row, sections[anchor], re.MULTILINE), (anchor, cell)


def test_readme_intervals_are_those_of_the_results_page():
  interval = r'[−\d.]+ \[[^]]+\]'
  known = re.findall(interval, RESULTS.replace('+', '').replace('\n', ' '))
  quoted = re.findall(interval, _sections(README)['choosing'])
  assert len(quoted) == 5
  assert set(quoted) <= set(known)


def test_setting_for_streams_is_that_of_the_results():
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
  chex.assert_trees_all_close(updates(_run(RESULTS)['tx']), updates(published))


# Families of arms that the table of arms names together.
_FAMILIES = (
  r'(direct|gain|momentum|trust_ratio)_(sgdm|adam|muon)(_homeostasis)?',
  r'unit_rms_(sgdm|adam|muon)',
  r'gain_adam_(middle|late|late_blocks)',
  r'signal_(activity|gradient|memory|activity_gradient|gradient_memory)',
  r'(unit_mean|shuffled)_no_clip',
)


def test_table_of_arms_names_every_arm():
  table = _sections(PROGRAMS)['arms']
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


def test_readme_names_every_mechanism():
  section = _sections(README)['mechanisms']
  for name in neuroplastic_optax.mechanisms.__all__:
    named = f'`{name}`' in section or name.endswith('State')
    assert named or name in ('eval_params', 'fan_in_bounds'), name


@pytest.mark.parametrize('page', PAGES, ids=lambda path: str(path.parent.name))
def test_commands_of_pages_have_programs_and_flags(page):
  text = page.read_text().replace('\\\n', ' ')
  commands = re.findall(r'python -m (experiments\.\w+)([^\n`|]*)', text)
  fields = {field.name for field in dataclasses.fields(Config)}
  for module, arguments in commands:
    source = (ROOT / f'{module.replace(".", "/")}.py').read_text()
    for flag in re.findall(r' --(?:no)?([a-z_.]+)', arguments):
      config, _, name = flag.partition('config.')
      known = name in fields if not config else f"'{flag}'" in source
      assert known, f'{module} has no --{flag}'
