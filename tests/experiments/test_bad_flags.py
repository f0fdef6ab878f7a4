"""Every flag of every program, given what it cannot be.

The table is made from the flags that the programs define and the fields of
their configurations: a new one fails here until somebody has said what it may
not be, and then until it is refused in one sentence, before anything is
written.
"""

import dataclasses
import importlib
import math
from pathlib import Path

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
_NAMES = ('nonsense', 'adam,nonsense', ',', '(adam', '(adam, sgd)', '7')

# Of the programs, by flag; of all of them, if it is written without one.
BAD_FLAGS = {
  'workdir': (*_PATHS, *_FILES, 'file', '/proc/x', '/dev/null/x'),
  'data_dir': (*_PATHS, *_FILES, 'file'),
  'train.resume': _SWITCHES,
  'train.overwrite': _SWITCHES,
  'train.distributed': _SWITCHES,
  'train.coordinator_address': (
    *('', 'host', 'host:', ':80', 'host:0', 'host:65536', 'host:x'),
    'host:-1',
  ),
  'train.num_processes': _COUNTS,
  'train.process_id': (*_INTEGERS, '1', '7'),
  'study.smoke': _SWITCHES,
  'study.jobs': _COUNTS,
  'study.shard': (
    *('', '1', '/', '0/2', '3/2', '1/0', '-1/2', '1/2/3', 'a/b', '1.0/2'),
    *('nan/2', '1/', '²/2'),
  ),
  'study.only': ('', 'nonsense', 'sgd,sgd', 'sgd,nonsense', ',', '(sgd'),
  'study.reuse': ('nowhere', 'file', 'foreign', 'link', ',', 'foreign,file'),
  'prepare.idx_dir': (*_PATHS, *_FILES, 'file', 'nowhere', 'foreign'),
  'prepare.source': ('', 'pip', 'NPM', 'npm,original', 'original ', '1'),
  'prepare.overwrite': _SWITCHES,
  'benchmark.steps': ('stack', 'cnn,x', ',', 'cnn+x'),
  'benchmark.leaves': ('x', '0', '-1', '8,x', '1.5', ',', '99999', '²'),
  'benchmark.workloads': ('vgg', 'mlp,vgg', ',', 'mlp+x'),
  'benchmark.optimizers': ('nonsense', 'adam+x', ',', 'adam+', '+global'),
  'benchmark.training': ('nonsense', 'full+x', ',', 'full+', 'full+global'),
  'benchmark.examples': _COUNTS,
  'benchmark.loops': ('stack', 'cnn,x', ',', 'cnn+x'),
  'benchmark.streams': ('rotated', ',', 'split,x'),
  'benchmark.stream_updates': _COUNTS,
  'benchmark.loop_batch_size': _COUNTS,
  'benchmark.seconds': ('', 'x', 'nan', '-1', '-inf', '-1e-9'),
  'benchmark.rounds': (*_COUNTS, '4'),
  'anatomy.tasks': ('', '1', '4', '2,2', 'x', '-2', '2.0', 'nan', ','),
  'anatomy.before': (*_INTEGERS, '120'),
  'anatomy.after': (*_COUNTS, '101'),
  'aot.topology': ('', 'x', 'v5e', 'v5e:', 'v5e:0x0', '2x2', 'v5e:3x7'),
}
# Of the configurations.
BAD_FIELDS = {
  'train.dataset': (
    *('', 'imagenet', 'digits:5', '../mnist', 'mnist/../..', 'DIGITS'),
    *('synthetic:5', 'synthetic:0x4x1', 'synthetic:-4x4x1', 'synthetic:'),
    *('synthetic:4x4x1:1', 'synthetic:4x4x1:3:0', 'synthetic:4x4x1:3:9:0'),
    *('synthetic:4x4x1:3:9:9:9', 'synthetic:99999999x9999999x1'),
    'synthetic:9999999999999999999999x1x1',
  ),
  'train.fraction': (*_NUMBERS, '0', '1.1', '1e-30', '1e-320', '0.01'),
  'train.label_noise': (*_NUMBERS, '1', '1.5'),
  'train.split': ('', 'train', 'TEST', 'test,validation', '1'),
  'train.stream': ('permuted', 'SPLIT', 'split,split_heads', '1'),
  'train.tasks': (*_COUNTS, '3'),
  'train.updates': (*_COUNTS, '3'),
  'train.restart': (*_SWITCHES, 'True'),
  'train.model': ('', 'vgg', 'MLP', 'mlp,cnn', '1'),
  'train.arms': (*_NAMES, '', 'sgd,sgd', '()', "['sgd', 'sgd']"),
  'train.learning_rate': (
    *(
      'x',
      'nan',
      'inf',
      '-1',
      '0',
      '1e39',
      '1e-50',
      '0.1,0.2',
      '(0.1',
      '0.1,x',
    ),
    *('(0.1, 0.2)', "{'a': 1}", '[[1]]'),
  ),
  'train.schedule': ('', 'step', 'COSINE', 'cosine,constant', '1'),
  'train.plasticity_scale': _NUMBERS,
  'train.warmup_epochs': _INTEGERS,
  'train.weight_decay': _NUMBERS,
  'train.hparams': ('1', 'x', '[1]'),
  'train.trials': (
    *(
      'x',
      '1',
      '[1]',
      '[{}]',
      "{'learning_rate': 1}",
      "{'foo': [1]}",
      '{1: [2]}',
    ),
    *("{'learning_rate': []}", "{'learning_rate': [-1]}", "{'learning_rate'"),
    *("[{'learning_rate': 1}, {'x': 1}]", "{'learning_rate': ['x']}", '(' * 99),
    '__import__("os").mkdir("hacked")',
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
# What else the command line holds: the least work, should a value be accepted.
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
# What a program exits with if its command line is wrong, and if the system
# refuses a path.
CODES = {
  **dict.fromkeys(('train', 'anatomy', 'prepare', 'benchmark', 'aot'), (1, 2)),
  **dict.fromkeys(('study', 'report'), (2,)),
}
PROGRAMS = tuple(
  path.stem
  for path in sorted(Path(experiments.__path__[0]).glob('*.py'))
  if 'def define_flags()' in path.read_text()
)


def defined(name):
  """The flags of a program, without those of its configuration."""
  with program.fresh_flags(name) as before:
    importlib.import_module(f'experiments.{name}').define_flags()
    return set(FLAGS) - before - {'config'}


def _values(key):
  """What a flag or a field of a program cannot be."""
  flag = key.partition('.')[2]
  return BAD_FLAGS.get(key) or BAD_FLAGS[flag]


def _table():
  """By program and flag, as it is written, its bad values."""
  for name in PROGRAMS:
    for flag in sorted(defined(name)):
      yield name, flag, _values(f'{name}.{flag}')
    for field in dataclasses.fields(CONFIGS[name]) if name in CONFIGS else ():
      yield name, f'config.{field.name}', BAD_FIELDS[f'{name}.{field.name}']


TABLE = list(_table())  # A flag or a field without a row is an error.


def test_every_row_of_the_table_is_a_flag_or_a_field():
  found = {(name, flag.removeprefix('config.')) for name, flag, _ in TABLE}
  for key in (*BAD_FLAGS, *BAD_FIELDS):
    program_, _, flag = key.rpartition('.')
    assert any(
      flag == each and program_ in ('', name) for name, each in found
    ), key


@pytest.fixture
def folder(tmp_path, monkeypatch):
  """Where the programs run, with what is in the way."""
  monkeypatch.chdir(tmp_path)
  (tmp_path / 'file').write_text('mine')
  (tmp_path / 'link').symlink_to('nowhere')
  (tmp_path / 'foreign').mkdir()
  (tmp_path / 'foreign' / 'mine').touch()
  return tmp_path


def _contents(folder):
  return sorted(
    (str(path), path.read_bytes() if path.is_file() else None)
    for path in folder.rglob('*')
  )


@pytest.mark.parametrize(
  ('name', 'flag', 'values'), TABLE, ids=[f'{n}-{f}' for n, f, _ in TABLE]
)
def test_a_bad_value_is_one_sentence_and_nothing_is_written(
  folder, name, flag, values
):
  key = f'{name}.{flag.removeprefix("config.")}'
  others = WITH.get(key, WITH.get(name, ()))
  before = _contents(folder)
  for value in values:
    result = program.inside(name, *others, f'--{flag}={value}')
    told = (value, result)
    assert result.code in CODES[name], told
    assert result.stdout == '', told
    assert result.stderr.startswith('error: '), told
    assert result.stderr.count('\n') == 1, told
    assert flag in result.stderr or _is_said_otherwise(flag, result), told
    assert _contents(folder) == before, told


def _is_said_otherwise(flag, result):
  """Whether the sentence is one that needs no name of a flag."""
  words = {
    'topology': 'compiling for TPUs needs libtpu',
    'config.dataset': 'does not fit into memory',
    # A file that is no folder of original files lacks them.
    'data_dir': 'is not prepared',
  }
  return words.get(flag, flag) in result.stderr


# A file can give a field whatever Python has.


class Strange:
  """What is nothing that a field may be, and cannot be compared."""

  __hash__ = None

  def __eq__(self, other):
    raise AssertionError('a value is compared before its type is known')


STRANGE = (
  *(Strange(), math.nan, math.inf, -1, 10**400, 1j, b'x', 'x\ny', '\x00'),
  *([[1]], {'a': 1}, {1: 2}, np.ones(2), lambda: 1, object, 'a' * 1000),
  *((Strange(),), [None], {'full': 3}, {'full': {'learning_rate': Strange()}}),
  *([{'learning_rate': Strange()}], {'learning_rate': [Strange()]}),
  *({'learning_rate': 3}, {Strange: 3}, ['sgd', 'sgd'], range(3), 1e308),
  *('[' * 500, '(' * 5000, '-' * 100_000 + '1', '[{[]: 1}]', '{[]: 1}'),
  *({'full': {'learning_rate': 10**400}}, {'learning_rate': [10**400]}),
)


@pytest.mark.parametrize('module', [default, aot])
def test_a_field_of_a_file_may_not_be_anything_strange(module):
  given = dict(module.get_config())
  for field in dataclasses.fields(module.Config):
    name = field.name
    for value in STRANGE:
      with pytest.raises(errors.InvalidValueError) as caught:  # noqa: PT012
        module.Config.resolve({**given, name: value})
        pytest.fail(f'{name} takes {value!r}')
      assert f'config.{name}' in str(caught.value)
      assert '\n' not in str(caught.value)


def test_every_hyperparameter_refuses_what_is_no_number():
  given = dict(default.get_config())
  values = (-1, math.nan, math.inf, 1e39, 'x', True, 1j, [1], Strange())
  for name, arm in optimizers.ARMS.items():
    for each in arm.hyperparameters:
      for value in values if name == 'full' else values[:1]:
        config = {**given, 'hparams': {name: {each: value}}}
        message = f'^config.hparams.{name}.{each} must be a finite number'
        with pytest.raises(errors.InvalidValueError, match=message):
          default.Config.resolve(config)
