"""Bad values of every flag of every program, and commands that are refused.

The table of values is made from the flags that the programs define and the
fields of their configurations: a new one fails here until it has bad values.
Each exits with one line before anything is written.
"""

import dataclasses
import importlib
import math
from pathlib import Path
import re

from absl.flags import FLAGS
import numpy as np
import pytest

import experiments
from experiments import errors
from experiments import optimizers
from experiments.configs import aot
from experiments.configs import default
from tests.experiments import program

_INTEGERS = ('', 'x', '1.5', '-1', '9' * 30)
_COUNTS = (*_INTEGERS, '0')
_SWITCHES = ('maybe', '2', '')
_PATHS = ('', 'link', 'link/below')
_FILES = ('file/below', 'x' * 300)
_NUMBERS = ('', 'x', 'nan', 'inf', '-1e-9', '1e39')
_NAMES = ('nonsense', 'adam,nonsense', ',', '(adam', '(adam, sgd)')

# By PROGRAM.FLAG, or by FLAG for every program that has it.
BAD_FLAGS = {
  'workdir': (*_PATHS, *_FILES, 'file', '/dev/null/x'),
  'data_dir': (*_PATHS, *_FILES, 'file'),
  'train.resume': _SWITCHES,
  'train.overwrite': _SWITCHES,
  'train.distributed': _SWITCHES,
  'train.coordinator_address': (
    *('', 'host', ':80', 'host:0', 'host:x', 'host:65536'),
  ),
  'train.num_processes': _COUNTS,
  'train.process_id': (*_INTEGERS, '1'),
  'study.smoke': _SWITCHES,
  'study.jobs': _COUNTS,
  'study.shard': ('', '1', '0/2', '3/2', '1/0', '1/2/3', 'a/b', '²/2'),
  'study.only': ('', 'nonsense', 'sgd,sgd', 'sgd,nonsense', '(sgd'),
  'study.reuse': ('nowhere', 'file', 'foreign', 'link', 'foreign,file'),
  'prepare.idx_dir': (*_PATHS, *_FILES, 'file', 'nowhere', 'foreign'),
  'prepare.source': ('', 'pip', 'npm,original'),
  'prepare.overwrite': _SWITCHES,
  'benchmark.steps': ('stack', 'cnn,x', 'cnn+x'),
  'benchmark.leaves': ('x', '0', '8,x', '1.5', '99999', '²'),
  'benchmark.workloads': ('vgg', 'mlp,vgg', 'mlp+x'),
  'benchmark.optimizers': ('nonsense', 'adam+x', 'adam+'),
  'benchmark.training': ('nonsense', 'full+x', 'full+global'),
  'benchmark.examples': _COUNTS,
  'benchmark.loops': ('stack', 'cnn,x'),
  'benchmark.streams': ('rotated', 'split,x'),
  'benchmark.stream_updates': _COUNTS,
  'benchmark.loop_batch_size': _COUNTS,
  'benchmark.seconds': ('', 'x', 'nan', '-1'),
  'benchmark.rounds': (*_COUNTS, '4'),
  'anatomy.tasks': ('', '1', '4', '2,2', 'x', '2.0'),
  'anatomy.before': (*_INTEGERS, '120'),
  'anatomy.after': (*_COUNTS, '101'),
  'aot.topology': ('', 'x', 'v5e', 'v5e:0x0', 'v5e:3x7'),
}
# By PROGRAM.FIELD of its configuration.
BAD_FIELDS = {
  'train.dataset': (
    *('', 'imagenet', 'digits:5', '../mnist', 'DIGITS', 'synthetic:5'),
    *('synthetic:0x4x1', 'synthetic:', 'synthetic:4x4x1:1'),
    *('synthetic:4x4x1:3:0', 'synthetic:4x4x1:3:9:9:9'),
    *('synthetic:99999999x9999999x1', 'synthetic:9999999999999999999999x1x1'),
  ),
  'train.fraction': (*_NUMBERS, '0', '1.1', '1e-30', '0.01'),
  'train.label_noise': (*_NUMBERS, '1'),
  'train.split': ('', 'train', 'test,validation'),
  'train.stream': ('permuted', 'split,split_heads'),
  'train.tasks': (*_COUNTS, '3'),
  'train.updates': (*_COUNTS, '3'),
  'train.restart': (*_SWITCHES, 'True'),
  'train.model': ('', 'vgg', 'mlp,cnn'),
  'train.arms': (*_NAMES, '', 'sgd,sgd', "['sgd', 'sgd']"),
  'train.learning_rate': (
    *('x', 'nan', '-1', '0', '1e39', '1e-50', '0.1,0.2', '(0.1', '0.1,x'),
    *("{'a': 1}", '[[1]]'),
  ),
  'train.schedule': ('', 'step', 'cosine,constant'),
  'train.plasticity_scale': _NUMBERS,
  'train.warmup_epochs': _INTEGERS,
  'train.weight_decay': _NUMBERS,
  'train.hparams': ('1', 'x', '[1]'),
  'train.trials': (
    *('x', '1', '[{}]', "{'learning_rate': 1}", "{'foo': [1]}", '{1: [2]}'),
    *("{'learning_rate': []}", "{'learning_rate': [-1]}", '(' * 99),
    *("[{'learning_rate': 1}, {'x': 1}]", '__import__("os").mkdir("hacked")'),
  ),
  'train.epochs': _COUNTS,
  'train.batch_size': _COUNTS,
  'train.seeds': _COUNTS,
  'train.seed': (*_INTEGERS, '4294967296', '4294967295'),
  'train.lanes': _INTEGERS,
  'train.checkpoint_every': _COUNTS,
  'train.tensorboard': _SWITCHES,
  'train.diagnostics': _SWITCHES,
  'aot.model': (*_NAMES, '', 'mlp,mlp'),
  'aot.arms': (*_NAMES, '', 'sgd,sgd'),
  'aot.batch_size': _COUNTS,
  'aot.sequence_length': _COUNTS,
  'aot.min_size_to_shard': _COUNTS,
}
CONFIGS = {'train': default.Config, 'aot': aot.Config}
# The rest of the command line: little work, should a value be accepted.
TINY = (
  *('--config.dataset=synthetic:4x4x1:3:20:10', '--config.arms=sgd'),
  *('--config.epochs=1', '--config.seeds=1'),
)
NOTHING = (
  *('--steps=', '--workloads=', '--training=', '--leaves=', '--streams='),
  '--loops=',
)
WITH = {
  'train': TINY,
  'train.data_dir': ('--config.dataset=mnist',),
  'train.seed': (*TINY, '--config.seeds=2'),
  'train.coordinator_address': (*TINY, '--num_processes=1', '--process_id=0'),
  'train.num_processes': (
    *TINY, '--coordinator_address=localhost:1', '--process_id=0',
  ),
  'train.process_id': (
    *TINY, '--coordinator_address=localhost:1', '--num_processes=1',
  ),
  'anatomy': (
    *TINY[:2], '--config.stream=permuted_labels', '--config.tasks=3',
    '--config.updates=120',
  ),
  'anatomy.data_dir': (
    '--config.dataset=mnist', '--config.stream=permuted_labels',
  ),
  'study': ('digits', '--smoke', '--only=sgd'),
  'study.data_dir': ('mnist',),
  'prepare': ('mnist', '--idx_dir=foreign'),
  'benchmark': ('--loops=mlp', *NOTHING[:5], '--seconds=0', '--rounds=5'),
  'aot': ('--config.model=mlp', '--config.arms=sgd', '--topology=v5e:2x2'),
}  # fmt: skip
PROGRAMS = tuple(
  path.stem
  for path in sorted(Path(experiments.__path__[0]).glob('*.py'))
  if 'def define_flags()' in path.read_text()
)


def _table():
  """By program and flag, as it is written, its bad values."""
  for name in PROGRAMS:
    with program.fresh_flags(name) as before:
      importlib.import_module(f'experiments.{name}').define_flags()
      defined = set(FLAGS) - before - {'config'}
    for flag in sorted(defined):
      yield name, flag, BAD_FLAGS.get(f'{name}.{flag}') or BAD_FLAGS[flag]
    for field in dataclasses.fields(CONFIGS[name]) if name in CONFIGS else ():
      yield name, f'config.{field.name}', BAD_FIELDS[f'{name}.{field.name}']


TABLE = list(_table())  # A flag or a field without a row is an error.
_STREAM = ('--config.stream=permuted_labels', '--config.tasks=3')
# Files of configurations, and why they are refused.
BROKEN = {
  'empty': ('', 'has no attribute'),
  'cut': ('def get_config(', 'SyntaxError'),
  'raises': ('raise RuntimeError("boom")', 'RuntimeError: boom'),
  'raises_later': (
    'def get_config():\n  raise KeyError("inner")',
    "KeyError: 'inner'",
  ),
  'none': ('def get_config():\n  return None', 'NoneType'),
  'list': ('def get_config():\n  return [1, 2]', 'TypeError'),
  'number': ('get_config = 3', "'int' object is not callable"),
}
# By program: the rest of a command, and the sentence that refuses it.
COMMANDS = {
  'train': [
    ([*TINY, '--config.foo=1'], 'config.foo is not a setting'),
    ([*TINY, '--config.foo=bar'], 'config.foo is not a setting'),
    (['--config.dataset=synthetic:2x2x1', '--config.model=cnn'], 'at least 4'),
    (['--config=missing.py'], "--config must .*No such file .*'missing.py'"),
    (['--config=missing.py', '--config.seeds=1'], 'No such file'),
    (['--config=.'], '--config must .*directory'),
    *(
      ([f'--config={name}.py'], f'--config must name a Python file .*{why}')
      for name, (_, why) in BROKEN.items()
    ),
    ([*TINY, 'run'], 'unexpected arguments: run'),
    ([*TINY, '--conf'], 'conf'),
    (
      ['--config.dataset=mnist', '--data_dir=data'],
      r"'mnist' is not prepared in data: run `python -m experiments.prepare "
      r'mnist --data_dir=data` first',
    ),
    (
      [*TINY, '--num_processes=2'],
      '--coordinator_address is missing: .* together',
    ),
    (
      [*TINY[:1], *_STREAM, f'--config.updates={2**30}'],
      'config.tasks must be at most 1 with 1073741824 updates each',
    ),
  ],
  'study': [
    ([], "NAME must be one of digits, mnist.*got ''"),
    (['digits', 'mnist'], "NAME must be one of digits, .*'digits mnist'"),
    (['digit'], "NAME must be one of digits, mnist.*got 'digit'"),
    (['digits', '--workdir=foreign'], "holds files but no study.*'mine'"),
    (['digits', '--workdir=cut'], 'cannot read cut/study.json: '),
  ],
  'anatomy': [
    (
      [*TINY[:1], *_STREAM, '--config.updates=8', '--before=2', '--after=7'],
      'together must be at most 8, .* got 2 and 7',
    ),
    (['--config.arms=sgd'], "config.stream must name a stream, .* got ''"),
  ],
  'prepare': [
    ([], 'give one NAME: mnist, fashion_mnist, cifar10'),
    (['imagenet'], 'NAME must be one of mnist, fashion_mnist, cifar10'),
    (
      ['mnist', '--idx_dir=/tmp', '--source=npm'],
      '--source=npm and --idx_dir=/tmp both say where the original files come',
    ),
    (
      ['fashion_mnist', '--source=npm'],
      "--source=npm has no fashion_mnist: install Debian's dataset-fashion-mn"
      'ist and give --idx_dir=/usr/share/datasets/fashion-mnist',
    ),
  ],
  'report': [
    ([], "give one study directory, got 'none'"),
    (['one', 'other'], 'give one study directory'),
    (['nowhere'], 'nowhere is '),
    (['file'], 'file is no study directory'),
    (['foreign'], 'foreign'),
    (['cut', '--workdir=x'], 'workdir'),
    ([''], 'no study directory'),
  ],
  'benchmark': [([*NOTHING], '--steps, --workloads, ')],
}


@pytest.fixture
def folder(tmp_path, monkeypatch):
  """Where the programs run, with what is in the way."""
  monkeypatch.chdir(tmp_path)
  (tmp_path / 'file').write_text('mine')
  (tmp_path / 'link').symlink_to('nowhere')
  (tmp_path / 'foreign').mkdir()
  (tmp_path / 'foreign' / 'mine').touch()
  for name, (content, _) in BROKEN.items():
    (tmp_path / f'{name}.py').write_text(content)
  (tmp_path / 'cut').mkdir()
  (tmp_path / 'cut' / 'study.json').write_text('{"program": "neuro')
  return tmp_path


def _assert_refused(folder, name, flags, sentence):
  """With one line, before anything is written."""
  before = program.contents(folder)
  result = program.inside(name, *flags)
  context = name, flags, result
  assert (result.code, result.stdout) == (1, ''), context
  assert re.match(f'error: .*({sentence}).*\n$', result.stderr), context
  assert program.contents(folder) == before, context


@pytest.mark.parametrize(
  ('name', 'flag', 'values'), TABLE, ids=[f'{n}-{f}' for n, f, _ in TABLE]
)
def test_bad_value_exits_with_one_line_and_writes_nothing(
  folder, name, flag, values
):
  key = f'{name}.{flag.removeprefix("config.")}'
  others = WITH.get(key, WITH.get(name, ()))
  # Some errors need no name of a flag.
  words = {
    'topology': 'compiling for TPUs needs libtpu',
    'config.dataset': 'does not fit into memory',
    'data_dir': 'is not prepared',
  }.get(flag, flag)
  for value in values:
    flags = (*others, f'--{flag}={value}')
    _assert_refused(folder, name, flags, f'{re.escape(flag)}|{words}')


@pytest.mark.parametrize(
  ('name', 'flags', 'sentence'),
  [(name, *row) for name, rows in COMMANDS.items() for row in rows],
)
def test_wrong_command_exits_with_one_line_and_writes_nothing(
  folder, name, flags, sentence
):
  _assert_refused(folder, name, flags, sentence)


# A file can give a field whatever Python has.


STRANGE = (
  *(object(), math.nan, -1, 10**400, 1j, b'x', 'x\ny', [[1]], {'a': 1}),
  *({1: 2}, np.ones(2), {'full': 3}, {'learning_rate': 3}, '(' * 5000),
)


@pytest.mark.parametrize('module', [default, aot])
def test_field_of_a_file_with_a_wrong_type_is_named(module):
  given = dict(module.get_config())
  for field in dataclasses.fields(module.Config):
    for value in STRANGE:
      with pytest.raises(
        errors.InvalidValueError, match=rf'^config.{field.name}[^\n]*$'
      ):
        module.Config.resolve({**given, field.name: value})


def test_hyperparameter_that_is_no_number_is_named():
  given = dict(default.get_config())
  values = (-1, math.nan, math.inf, 1e39, 'x', True, 1j, [1])
  for name, arm in optimizers.ARMS.items():
    for each in arm.hyperparameters:
      for value in values if name == 'full' else values[:1]:
        config = {**given, 'hparams': {name: {each: value}}}
        message = f'^config.hparams.{name}.{each} must be a finite number'
        with pytest.raises(errors.InvalidValueError, match=message):
          default.Config.resolve(config)
