r"""Changes the arithmetic of the library at random: do the tests notice?

  pip install cosmic-ray
  python -m tests.mutation --sample=300 --jobs=2 --results=mutation.csv

Cosmic Ray lists every mutant of the modules with equations: an operator of
arithmetic or comparison is another one, a number is one more or less, a
condition is negated, a decorator is missing, a loop has no turn. A random
sample of them is tried, each in a copy of the package, by the fast tests: first
those of its module, then all others of the library, until one fails. A run that
was stopped goes on where it was. What survives is printed as a diff: either a
test is missing, or it makes no difference that anybody could see.
"""

import argparse
import ast
from collections.abc import Iterator, Sequence
from concurrent import futures
import contextlib
import csv
import difflib
import multiprocessing
import os
from pathlib import Path
import random
import re
import shutil
import signal
import sys
import tempfile
import time
from typing import NamedTuple

ROOT = Path(__file__).parents[1]
PACKAGE = 'neuroplastic_optax'
MODULES = (
  *('_signals', '_coefficient', 'modulations', '_homeostasis', '_controller'),
  *('_leaf', '_tensor', '_reductions', '_derivatives', '_dtypes'),
)
_SEED = 0
# Of the tests of one stage, seconds: a mutant that loops for ever is noticed,
# too.
_LIMIT = 1500
_ARITHMETIC = ('Add', 'Sub', 'Mul', 'Div')
_COMPARISON = ('Eq', 'NotEq', 'Lt', 'LtE', 'Gt', 'GtE')
_OPERATORS = (
  *(
    f'ReplaceBinaryOperator_{x}_{y}'
    for x in (*_ARITHMETIC, 'Pow')
    for y in _ARITHMETIC
    if x != y
  ),
  *(
    f'ReplaceComparisonOperator_{x}_{y}'
    for x in _COMPARISON
    for y in _COMPARISON
    if x != y
  ),
  *('ReplaceUnaryOperator_USub_UAdd', 'ReplaceUnaryOperator_Delete_USub'),
  *('ReplaceUnaryOperator_Delete_Not', 'AddNot', 'ReplaceTrueWithFalse'),
  *('ReplaceFalseWithTrue', 'ReplaceAndWithOr', 'ReplaceOrWithAnd'),
  *('NumberReplacer', 'RemoveDecorator', 'ZeroIterationForLoop'),
)
_NOTHING = 'nothing'
_BASELINES = ('_signals.py', 'mechanisms/_upgd.py')
_FIRST = ('reference', 'modulations', 'slices', 'dtypes', 'transform')
_COLUMNS = ('module', 'operator', 'occurrence', 'outcome', 'seconds', 'tests')


class Mutant(NamedTuple):
  """A change of a module.

  Attributes:
    module: its path below the package.
    operator: what changes, as Cosmic Ray calls it.
    occurrence: which of the places where it could be changed so.
    code: the module afterwards.
  """

  module: str
  operator: str
  occurrence: int
  code: str

  @property
  def key(self) -> tuple[str, str, str]:
    """What tells it from the others."""
    return self.module, self.operator, str(self.occurrence)


def mutants(modules: Sequence[Path]) -> Iterator[Mutant]:
  """All mutants of some modules; each changed text once."""
  # Not a dependency of the tests: nothing else needs it.
  from cosmic_ray import ast as trees
  from cosmic_ray import mutating
  from cosmic_ray import plugins

  for path in modules:
    source = path.read_text(encoding='utf-8')
    nodes = list(trees.ast_nodes(trees.get_ast(source)))
    seen = {source}
    for name in _OPERATORS:
      operator = plugins.get_operator(f'core/{name}')()
      count = sum(len(list(operator.mutation_positions(x))) for x in nodes)
      for occurrence in range(count):
        code = mutating.mutate_code(source, operator, occurrence)
        if code not in seen and _is_python(code):
          seen.add(code)
          module = str(path.relative_to(ROOT / PACKAGE))
          yield Mutant(module, name, occurrence, code)


def _is_python(code: str) -> bool:
  try:
    ast.parse(code)
  except SyntaxError:  # A star in a signature is no multiplication.
    return False
  return True


def stages(module: str) -> list[list[str]]:
  """The tests to run, one call of pytest after another."""
  name = Path(module).stem.strip('_')
  library = sorted(
    path
    for path in (ROOT / 'tests').glob('test_*.py')
    # They start programs, or read pages.
    if not re.search('docs|packaging|faults|readme|long', path.name)
  )
  mechanisms = sorted((ROOT / 'tests' / 'mechanisms').glob('test_*.py'))
  if module.startswith('mechanisms'):
    own = [str(path) for path in mechanisms]
    arguments = str(ROOT / 'tests' / 'test_bad_arguments.py')
    return [[*own, '-k', _spelt(name)], [*own, arguments]]
  first = [ROOT / 'tests' / f'test_{x}.py' for x in (name, *_FIRST)]
  rest = [path for path in library if path not in first]
  return [
    [str(path) for path in dict.fromkeys(first) if path.exists()],
    [str(path) for path in (*rest, *mechanisms)],
  ]


def _spelt(name: str) -> str:
  """What selects the tests of a mechanism by their names."""
  words = {
    'clip_weights': 'clip or bounds',
    'fan_in_bounds': 'clip or bounds',
    'elastic_weight_consolidation': 'elastic or ewc',
    'reset_state': 'reset',
    'reset_moments': 'reset',
  }
  return words.get(name, name)


def attempt(mutant: Mutant) -> tuple[str, float, str]:
  """Tries a mutant in a process of its own.

  Returns:
    The outcome (killed, survived or timeout), how many seconds it took, and
    which of the stages decided.
  """
  began = time.monotonic()
  with tempfile.TemporaryDirectory(prefix='mutant-') as folder:
    shutil.copytree(
      ROOT / PACKAGE,
      Path(folder) / PACKAGE,
      ignore=shutil.ignore_patterns('__pycache__'),
    )
    (Path(folder) / PACKAGE / mutant.module).write_text(mutant.code)
    for stage, tests in enumerate(stages(mutant.module), 1):
      process = multiprocessing.get_context('forkserver').Process(
        target=_tests, args=(folder, tests)
      )
      process.start()
      process.join(_LIMIT)
      if process.exitcode is None:
        with contextlib.suppress(ProcessLookupError):
          os.killpg(process.pid, signal.SIGKILL)
        process.join()
        return 'timeout', time.monotonic() - began, str(stage)
      # 5: no test has such a name.
      if process.exitcode not in (0, 5):
        return 'killed', time.monotonic() - began, str(stage)
  return 'survived', time.monotonic() - began, 'all'


def _tests(folder: str, tests: Sequence[str]) -> None:
  """What happens in the process: the tests see the copy of the package."""
  os.setpgid(0, 0)
  quiet = os.open(os.devnull, os.O_WRONLY)
  for stream in (1, 2):
    os.dup2(quiet, stream)
  os.chdir(ROOT)
  sys.path[:0] = [folder, str(ROOT)]
  os.environ['PYTHONPATH'] = folder
  import pytest

  import neuroplastic_optax

  assert neuroplastic_optax.__file__.startswith(folder)
  # What was imported before pytest cannot have its assertions rewritten.
  options = ('-x', '-q', '-n0', '-m', 'not slow', '--assert=plain')
  code = pytest.main([*options, '-p', 'no:cacheprovider', *tests])
  sys.stdout.flush()
  os._exit(int(code))


def _prepare() -> None:
  """Says to all processes what the tests' conftest would find out."""
  folder = tempfile.mkdtemp(prefix='mutation-')
  os.environ |= {
    # Not the first process of the tests, which prepares all this.
    'PYTEST_XDIST_WORKER': 'mutation',
    '_COMPILED_BY_TESTS': folder,
    'MPLCONFIGDIR': folder,
    'JAX_PLATFORMS': 'cpu',
    'XLA_FLAGS': (
      '--xla_force_host_platform_device_count=8 '
      '--xla_backend_optimization_level=0 '
      '--xla_cpu_use_fusion_emitters=false'
    ),
  }
  context = multiprocessing.get_context('forkserver')
  context.set_forkserver_preload(
    ['jax', 'optax', 'flax.nnx', 'chex', 'hypothesis', 'pytest', 'scipy.stats']
  )


def _difference(mutant: Mutant) -> str:
  path = ROOT / PACKAGE / mutant.module
  lines = difflib.unified_diff(
    path.read_text().splitlines(),
    mutant.code.splitlines(),
    *(mutant.module,) * 2,
    lineterm='',
    n=2,
  )
  return '\n'.join(lines)


def _unchanged(module: str) -> Mutant:
  """No mutant: it has to survive."""
  return Mutant(module, _NOTHING, 0, (ROOT / PACKAGE / module).read_text())


def main() -> None:
  """The program."""
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument('--sample', type=int, default=300)
  parser.add_argument('--jobs', type=int, default=2)
  parser.add_argument('--results', type=Path, default=Path('mutation.csv'))
  options = parser.parse_args()
  folder = ROOT / PACKAGE
  paths = [folder / f'{name}.py' for name in MODULES]
  paths += sorted((folder / 'mechanisms').glob('_*.py'))
  every = list(mutants([x for x in paths if x.name != '__init__.py']))
  random.Random(_SEED).shuffle(every)
  sample = every[: options.sample]
  print(f'{len(every)} mutants, of which {len(sample)} are tried', flush=True)
  sample += [_unchanged(module) for module in _BASELINES]
  _prepare()
  done = {}
  if options.results.exists():
    with options.results.open(newline='') as file:
      for row in csv.DictReader(file):
        done[row['module'], row['operator'], row['occurrence']] = row['outcome']
  with (
    options.results.open('a', newline='') as file,
    futures.ThreadPoolExecutor(options.jobs) as pool,
  ):
    table = csv.writer(file)
    if not file.tell():
      table.writerow(_COLUMNS)
    left = [mutant for mutant in sample if mutant.key not in done]
    running = {pool.submit(attempt, mutant): mutant for mutant in left}
    for future in futures.as_completed(running):
      mutant = running[future]
      outcome, seconds, tests = future.result()
      done[mutant.key] = outcome
      table.writerow([*mutant.key, outcome, round(seconds, 1), tests])
      file.flush()
      print(f'{outcome} after {seconds:.0f} s: {" ".join(mutant.key)}')
      if outcome == 'survived' and mutant.operator != _NOTHING:
        print(_difference(mutant), flush=True)
  found = [done[mutant.key] for mutant in sample]
  unchanged = found[options.sample :]
  if unchanged != ['survived'] * len(unchanged):
    sys.exit('the tests fail without a mutation, so that nothing follows.')
  survived = found.count('survived') - len(unchanged)
  print(f'{options.sample - survived} killed, {survived} survived')


if __name__ == '__main__':
  main()
