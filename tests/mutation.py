r"""Changes the arithmetic of the library at random: do the tests notice?

  pip install cosmic-ray coverage
  python -m tests.mutation --sample=300 --jobs=2 --results=mutation.csv

Cosmic Ray lists every mutant of the modules with equations: an operator of
arithmetic or comparison is another one, a number is one more or less, a
condition is negated, a decorator is missing, a loop has no turn. A random
sample of them is tried, each in a copy of the package, by the fast tests that
execute the changed statement, until one fails; Coverage.py finds out which they
are, once for a state of the sources, in `mutation.tests.json`. A run that was
stopped goes on where it was. What survives is printed as a diff: either a test
is missing, or it makes no difference that anybody could see.
"""

import argparse
import ast
from collections.abc import Callable, Iterator, Sequence
from concurrent import futures
import contextlib
import csv
import difflib
import hashlib
import importlib
import json
import multiprocessing
import os
from pathlib import Path
import re
import shutil
import signal
import sys
import tempfile
import time
from typing import Any, NamedTuple

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = 'neuroplastic_optax'
MODULES = (
  *('modulations', '_stages'),
  *('_leaf', '_arrays'),
)
_SEED = 0
# Of the tests of a mutant, seconds: one that loops for ever is noticed, too.
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
# What was imported before pytest cannot have its assertions rewritten.
_OPTIONS = (
  *('-q', '-n0', '-m', 'not slow', '--assert=plain', '-p', 'no:cacheprovider'),
)
_ALIVE = ('survived', 'unreached')
_NOTHING = 'nothing'
_BASELINES = ('_signals.py', 'mechanisms/_upgd.py')
_COLUMNS = ('module', 'source', 'operator', 'occurrence', 'outcome', 'seconds')
# What the tests of signatures have in common: they may execute nothing.
_SIGNATURES = re.compile('test_(keywords|bad_arguments|arguments).py')
# Contexts of coverage that are no tests.
_IMPORT, _COLLECTION = 'import', 'collection'


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
  def key(self) -> tuple[str, str, str, str]:
    """What tells it from the others, and from those of another source."""
    source = (ROOT / PACKAGE / self.module).read_bytes()
    digest = hashlib.sha256(source).hexdigest()[:12]
    return self.module, digest, self.operator, str(self.occurrence)


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
        if code not in seen and _is_meant(source, code):
          seen.add(code)
          module = str(path.relative_to(ROOT / PACKAGE))
          yield Mutant(module, name, occurrence, code)


def _is_meant(source: str, code: str) -> bool:
  """Whether it is Python, and no star of a signature became a slash."""
  try:
    changed = ast.parse(code)
  except SyntaxError:
    return False
  return _positional(changed) == _positional(ast.parse(source))


def _positional(tree: ast.Module) -> int:
  """How many arguments of functions have no keyword."""
  return sum(
    len(node.posonlyargs)
    for node in ast.walk(tree)
    if isinstance(node, ast.arguments)
  )


class Reach(NamedTuple):
  """What the fast tests execute.

  Attributes:
    sources: the hash of the package and of the tests.
    seconds: how long each test takes, by its name.
    lines: by module and line, the tests that execute it, or `import` or
      `collection` for what happens before them.
  """

  sources: str
  seconds: dict[str, float]
  lines: dict[str, dict[str, list[str]]]

  def tests(self, mutant: Mutant) -> list[str]:
    """Which tests to try on a mutant, in their order."""
    lines = self.lines[mutant.module]
    found = {
      test
      for line in _changed_statements(mutant)
      for test in lines.get(str(line), ())
    }
    if not found or found & {_IMPORT, _COLLECTION}:
      # Whoever uses the module may see it, or looks at its signatures.
      found.update(test for tests in lines.values() for test in tests)
      found.update(test for test in self.seconds if _SIGNATURES.search(test))
    found -= {_IMPORT, _COLLECTION}
    ordered = sorted(found, key=self.seconds.__getitem__)
    # First one of every function, then the other values of its parameters.
    firsts = {_function(test): test for test in reversed(ordered)}
    first = sorted(firsts.values(), key=self.seconds.__getitem__)
    return [*dict.fromkeys([*first, *ordered])]


def _function(test: str) -> str:
  return test.partition('[')[0]


def _changed_statements(mutant: Mutant) -> set[int]:
  """The lines of the statements that a mutant changes."""
  source = (ROOT / PACKAGE / mutant.module).read_text()
  pieces = difflib.SequenceMatcher(
    a=source.splitlines(), b=mutant.code.splitlines(), autojunk=False
  ).get_opcodes()
  changed = {
    line + 1
    for kind, begin, end, _, _ in pieces
    if kind != 'equal'
    for line in range(begin, max(end, begin + 1))
  }
  found: set[int] = set()
  for node in ast.walk(ast.parse(source)):
    if isinstance(node, ast.stmt):
      lines = _own_lines(node)
      if changed.intersection(lines):
        found.update(lines)
  return found


def _own_lines(node: ast.stmt) -> range:
  """The lines of a statement, without those of the statements in it."""
  decorators = getattr(node, 'decorator_list', [])
  begin = min([node.lineno, *(each.lineno for each in decorators)])
  body = getattr(node, 'body', None)
  end = body[0].lineno if body else (node.end_lineno or node.lineno) + 1
  return range(begin, max(end, begin + 1))


def _files() -> list[str]:
  """The tests of the library that start no programs and read no pages."""
  library = (ROOT / 'tests').glob('test_*.py')
  slow = re.compile('docs|packaging|faults|readme|long')
  mechanisms = (ROOT / 'tests' / 'mechanisms').glob('test_*.py')
  return [
    *sorted(str(path) for path in library if not slow.search(path.name)),
    *sorted(map(str, mechanisms)),
  ]


class _Recorder:
  """A plugin of pytest that says which test executes what, and how long."""

  def __init__(self, coverage: Any) -> None:
    self.seconds: dict[str, float] = {}
    self._coverage = coverage

  @pytest.hookimpl(wrapper=True)
  def pytest_runtest_protocol(self, item: pytest.Item) -> Iterator[None]:
    import jax

    # What an earlier test has traced would not be executed again.
    jax.clear_caches()
    self._coverage.switch_context(item.nodeid)
    began = time.monotonic()
    result = yield
    self.seconds[item.nodeid] = time.monotonic() - began
    return result


class _Chooser:
  """A plugin of pytest that leaves some tests, in an order."""

  def __init__(self, tests: Sequence[str]) -> None:
    self._tests = tests

  @pytest.hookimpl(trylast=True)
  def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
    found = {item.nodeid: item for item in items}
    items[:] = [found[test] for test in self._tests if test in found]


def reach(path: Path) -> Reach:
  """What the tests reach; found out, where no file says it of these sources."""
  found = Reach(**json.loads(path.read_text())) if path.exists() else None
  if found is not None and found.sources == _sources():
    return found
  if _in_process(_survey, (str(path),), None):
    sys.exit('the tests fail without a mutation, so that nothing follows.')
  return Reach(**json.loads(path.read_text()))


def _sources() -> str:
  """The hash of all that decides what a test executes."""
  digest = hashlib.sha256()
  patterns = (f'{PACKAGE}/**/*.py', 'tests/*.py', 'tests/mechanisms/*.py')
  for pattern in patterns:
    for path in sorted(ROOT.glob(pattern)):
      digest.update(path.read_bytes())
  return digest.hexdigest()


def _survey(path: str) -> None:
  import coverage

  os.chdir(ROOT)
  sys.path.insert(0, str(ROOT))
  measured = coverage.Coverage(data_file=None, source_pkgs=[PACKAGE])
  measured.start()
  measured.switch_context(_IMPORT)
  importlib.import_module(PACKAGE)
  measured.switch_context(_COLLECTION)
  recorder = _Recorder(measured)
  code = pytest.main([*_OPTIONS, *_files()], [recorder])
  measured.stop()
  data = measured.get_data()
  lines = {
    str(Path(file).relative_to(ROOT / PACKAGE)): data.contexts_by_lineno(file)
    for file in data.measured_files()
  }
  if not code:
    found = Reach(_sources(), recorder.seconds, lines)
    Path(path).write_text(json.dumps(found._asdict()))
  _leave(code)


def _in_process(
  target: Callable[..., None], args: tuple[Any, ...], limit: float | None
) -> int | None:
  """The exit code of a function in a process of its own; None: too long."""
  context = multiprocessing.get_context('forkserver')
  process = context.Process(target=target, args=args)
  process.start()
  process.join(limit)
  if process.exitcode is None:
    with contextlib.suppress(ProcessLookupError):
      os.killpg(process.pid, signal.SIGKILL)
    process.join()
    return None
  return process.exitcode


def attempt(mutant: Mutant, reached: Reach) -> tuple[str, float]:
  """Tries a mutant in a process of its own.

  Args:
    mutant: what to try.
    reached: what the tests execute.

  Returns:
    The outcome (killed, survived, timeout, or unreached where no test executes
    it), and how many seconds it took.
  """
  tests = reached.tests(mutant)
  if not tests:
    return 'unreached', 0.0
  began = time.monotonic()
  with tempfile.TemporaryDirectory(prefix='mutant-') as folder:
    shutil.copytree(
      ROOT / PACKAGE,
      Path(folder) / PACKAGE,
      ignore=shutil.ignore_patterns('__pycache__'),
    )
    (Path(folder) / PACKAGE / mutant.module).write_text(mutant.code)
    code = _in_process(_try, (folder, tests), _LIMIT)
  outcome = {0: 'survived', None: 'timeout'}.get(code, 'killed')
  return outcome, time.monotonic() - began


def _try(folder: str, tests: Sequence[str]) -> None:
  """What happens in the process: the tests see the copy of the package."""
  os.setpgid(0, 0)
  quiet = os.open(os.devnull, os.O_WRONLY)
  for stream in (1, 2):
    os.dup2(quiet, stream)
  os.chdir(ROOT)
  sys.path[:0] = [folder, str(ROOT)]
  os.environ['PYTHONPATH'] = folder
  package = importlib.import_module(PACKAGE)
  assert str(package.__file__).startswith(folder)
  files = dict.fromkeys(test.partition('::')[0] for test in tests)
  _leave(pytest.main(['-x', *_OPTIONS, *files], [_Chooser(tests)]))


def _leave(code: int) -> None:
  """Ends the process at once, whatever threads JAX has."""
  sys.stdout.flush()
  os._exit(int(code))


def _prepare() -> None:
  """Prepares all processes as the tests' conftest does the first of its own."""
  importlib.import_module('tests.conftest')
  os.environ['PYTEST_XDIST_WORKER'] = 'mutation'
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


def _rank(mutant: Mutant) -> str:
  """Where it stands in a random order, whatever other modules hold."""
  name = f'{_SEED} {mutant.module} {mutant.operator} {mutant.occurrence}'
  return hashlib.sha256(name.encode()).hexdigest()


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
  sample = sorted(every, key=_rank)[: options.sample]
  print(f'{len(every)} mutants, of which {len(sample)} are tried', flush=True)
  sample += [_unchanged(module) for module in _BASELINES]
  _prepare()
  reached = reach(options.results.with_suffix('.tests.json'))
  done: dict[tuple[str, ...], str] = {}
  if options.results.exists():
    with options.results.open(newline='') as file:
      for row in csv.DictReader(file):
        done[tuple(row[name] for name in _COLUMNS[:4])] = row['outcome']
  with (
    options.results.open('a', newline='') as file,
    futures.ThreadPoolExecutor(options.jobs) as pool,
  ):
    table = csv.writer(file)
    if not file.tell():
      table.writerow(_COLUMNS)
    left = [mutant for mutant in sample if mutant.key not in done]
    running = {pool.submit(attempt, mutant, reached): mutant for mutant in left}
    for future in futures.as_completed(running):
      mutant = running[future]
      outcome, seconds = future.result()
      done[mutant.key] = outcome
      table.writerow([*mutant.key, outcome, round(seconds, 1)])
      file.flush()
      print(f'{outcome} after {seconds:.0f} s: {" ".join(mutant.key)}')
      if outcome in _ALIVE and mutant.operator != _NOTHING:
        print(_difference(mutant), flush=True)
  found = [done[mutant.key] for mutant in sample]
  unchanged = found[options.sample :]
  if unchanged != ['survived'] * len(unchanged):
    sys.exit('the tests fail without a mutation, so that nothing follows.')
  survived = sum(outcome in _ALIVE for outcome in found) - len(unchanged)
  print(f'{options.sample - survived} killed, {survived} survived')


if __name__ == '__main__':
  main()
