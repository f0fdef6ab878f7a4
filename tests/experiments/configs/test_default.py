"""A configuration resolves its defaults and names wrong values."""

import jax
import ml_collections
import pytest

from experiments import models
from experiments import optimizers
from experiments.configs import default


def _resolve(**fields):
  config = default.get_config()
  with config.unlocked():
    # As a configuration file may: without regard to the default's types.
    for name, value in fields.items():
      del config[name]
      config[name] = value
  return default.Config.resolve(config)


def test_default_values():
  found = _resolve()
  assert found.dataset == 'digits'
  assert found.arms == ('full', 'gradient_only')
  assert found.seed_list == [0, 1, 2, 3, 4]
  assert found.rates == {'full': 0.1, 'gradient_only': 0.1}
  assert (found.fraction, found.label_noise) == (1.0, 0.0)


@pytest.mark.parametrize(
  ('dataset', 'model', 'epochs', 'batch_size'),
  [
    ('digits', 'mlp', 20, 32),
    ('mnist', 'mlp', 10, 128),
    ('cifar10', 'resnet18', 10, 128),
    ('synthetic', 'mlp', 10, 128),
  ],
)
def test_data_set_sets_model_epochs_and_batch_size(
  dataset, model, epochs, batch_size
):
  found = _resolve(dataset=dataset)
  assert found.model == model
  assert (found.epochs, found.batch_size) == (epochs, batch_size)
  own = _resolve(dataset=dataset, model='cnn', epochs=3, batch_size=7)
  assert (own.model, own.epochs, own.batch_size) == ('cnn', 3, 7)


@pytest.mark.parametrize(
  'arms', ['sgd,adam', "('sgd', 'adam')", ['sgd', 'adam']]
)
def test_arms_in_every_form(arms):
  assert _resolve(arms=arms).arms == ('sgd', 'adam')
  assert _resolve(arms='sgd').arms == _resolve(arms="('sgd',)").arms == ('sgd',)


@pytest.mark.parametrize(
  ('learning_rate', 'rates'),
  [
    *(('', (0.1, 1e-3)), (None, (0.1, 1e-3)), ('0.5', (0.5, 0.5))),
    *((0.5, (0.5, 0.5)), ('0.5,2e-3', (0.5, 2e-3))),
    *(('(0.5, 0.002)', (0.5, 2e-3)), ([0.5, 2e-3], (0.5, 2e-3))),
  ],
)
def test_learning_rates_in_every_form(learning_rate, rates):
  found = _resolve(arms='sgd,adam', learning_rate=learning_rate)
  assert found.learning_rate == rates
  assert found.rates == dict(zip(('sgd', 'adam'), rates, strict=True))
  assert all(type(rate) is float for rate in found.learning_rate)


def test_learning_rate_defaults_to_that_of_each_arm():
  found = _resolve(arms=tuple(optimizers.ARMS))
  assert found.rates == {
    name: arm.learning_rate for name, arm in optimizers.ARMS.items()
  }


@pytest.mark.parametrize(
  ('backend', 'model', 'lanes', 'expected'),
  [
    *(('cpu', 'mlp', 0, 1), ('cpu', 'mlp', 3, 3)),
    *(('gpu', 'mlp', 0, 0), ('gpu', 'mlp', 3, 3)),
    *(('gpu', 'cnn', 0, 1), ('gpu', 'cnn', 3, 3)),
  ],
)
def test_lanes_default_to_backend_and_model(
  backend, model, lanes, expected, monkeypatch
):
  monkeypatch.setattr(jax, 'default_backend', lambda: backend)
  assert _resolve(model=model, lanes=lanes).lanes == expected


# Fields, and what is said of a wrong one of them.
WRONG = [
  ({'model': 'vgg'}, f'model must be one of {", ".join(models.MODELS)}.*vgg'),
  ({'arms': 'nonsense'}, f'arms must be one of {", ".join(optimizers.ARMS)}'),
  ({'arms': 'sgd,sgd'}, 'arms must be .*, comma-separated, each once.*sgd,sgd'),
  (
    {'learning_rate': '0.1,0.2,0.3'},
    'learning_rate must be .*number > 0, or one for each of the 2.*0.1,0.2,0.3',
  ),
  ({'learning_rate': 1e-50}, 'learning_rate must be .*number > 0.*1e-50'),
  (
    {'plasticity_scale': 1e39},
    r'plasticity_scale must be a number ≤ 3.40282e\+38, of float32.*1e\+39',
  ),
  ({'epochs': 2**31}, 'epochs must be an integer ≤ 2147483647.*2147483648'),
  ({'fraction': float('nan')}, r'fraction must be a number in \(0, 1\].*nan'),
  ({'label_noise': 1.0}, r'label_noise must be a number in \[0, 1\).*1.0'),
  ({'weight_decay': -1.0}, r'weight_decay must be a number in \[0, inf\).*-1'),
  ({'seeds': True}, 'seeds must be an integer ≥ 1.*True'),
  ({'tensorboard': 1}, 'tensorboard must be True or False.*1'),
  ({'stream': 'permuted'}, 'stream must be one of permuted_labels, .*, got'),
  ({'tasks': 3}, 'tasks must be left out without config.stream, got 3'),
  ({'updates': 3}, 'updates must be left out without config.stream, got 3'),
  ({'restart': True}, 'restart must be False without config.stream, got'),
  (
    {'stream': 'permuted_labels', 'epochs': 3},
    'epochs must be left out with config.stream=permuted_labels, .* got 3',
  ),
  (
    {'stream': 'permuted_labels', 'fraction': 0.5},
    'fraction must be 1.0 with config.stream=permuted_labels, .*got 0.5',
  ),
  (
    {'stream': 'permuted_labels', 'label_noise': 0.5},
    'label_noise must be 0.0 with config.stream=permuted_labels, .*got 0.5',
  ),
  *(
    ({'stream': 'split', 'tasks': tasks}, f'tasks must be 2 or 5, .*{tasks}')
    for tasks in (1, 10)
  ),
  (
    {'stream': 'split', 'tasks': 3},
    'tasks must be 2 or 5, which divide the 10 classes of digits .*got 3',
  ),
  (
    {'stream': 'split', 'dataset': 'synthetic:4x4x1:3'},
    "dataset must have classes .*got 'synthetic:4x4x1:3' with 3 classes",
  ),
  (
    {'stream': 'split', 'model': 'cnn'},
    "model must be one with features to be measured .*: mlp, .*got 'cnn'",
  ),
  ({'stream': 'split', 'tasks': 0}, 'tasks must be an integer ≥ 1, got 0'),
  ({'trials': 3}, 'trials must be a grid, .* or a list of combinations'),
  ({'trials': {'learning_rate': [0.1, 0.1]}}, 'trials must be a grid'),
  (
    {'trials': [{'learning_rate': 0.1}, {'weight_decay': 0.1}]},
    'trials.*all of the same names',
  ),
  (
    {'trials': {'learning_rate': ['a']}},
    "trials.*learning_rate must be a finite .* got 'a'",
  ),
  (
    {'trials': {'weight_decay': [-1]}},
    'trials.*weight_decay must be a finite number ≥ 0',
  ),
  (
    {'trials': {'strength': [0.1]}},
    "trials.*of full one of learning_rate, .*, got 'strength'",
  ),
  (
    {'hparams': {'best': {'learning_rate': 1}}},
    "hparams must be one of .*, got 'best'",
  ),
  (
    {'hparams': {'full': {'lr': 1}}},
    'hparams.full must be one of learning_rate, .*lr',
  ),
]


@pytest.mark.parametrize(('fields', 'message'), WRONG)
def test_wrong_value_is_named_with_what_is_allowed(fields, message):
  with pytest.raises(ValueError, match=f'^config.{message}'):
    _resolve(**fields)


def test_fields_that_may_change_on_resume():
  constant = _resolve(epochs=4)
  assert constant.may_resume('epochs', 3)
  assert not constant.may_resume('epochs', 5)
  assert not _resolve(epochs=4, schedule='cosine').may_resume('epochs', 3)
  free = {
    name for name in default.get_config() if constant.may_resume(name, None)
  }
  assert free == {'lanes', 'checkpoint_every', 'tensorboard'}
  stream = _resolve(stream='permuted_labels', tasks=4)
  assert stream.may_resume('tasks', 3)
  assert not stream.may_resume('tasks', 5)
  assert not stream.may_resume('updates', None)
  # More tasks would split the classes differently.
  assert not _resolve(stream='split', tasks=5).may_resume('tasks', 2)


def test_stream_sets_model_tasks_and_batch_size():
  found = _resolve(stream='random_labels')
  assert (found.tasks, found.batch_size, found.updates) == (20, 16, None)
  assert (found.model, found.epochs, found.dataset) == (
    *('mlp_small', None, 'digits'),
  )
  assert (found.length, found.unit, found.checkpoint_every) == (20, 'task', 2)
  own = _resolve(
    stream='split', model='mlp_norm', tasks=2, batch_size=7, checkpoint_every=1
  )
  assert (own.model, own.tasks, own.batch_size) == ('mlp_norm', 2, 7)
  ordinary = _resolve(epochs=4)
  assert (ordinary.length, ordinary.unit, ordinary.tasks) == (4, 'epoch', None)
  assert ordinary.checkpoint_every == 1


def test_seeds_are_32_bits():
  assert _resolve(seed=2**32 - 2, seeds=2).seed_list[-1] == 2**32 - 1
  with pytest.raises(ValueError, match=r'config.seed \+ config.seeds .* 2³²'):
    _resolve(seed=2**32 - 2, seeds=3)


def test_unknown_and_missing_fields_are_named():
  config = dict(default.get_config())
  with pytest.raises(ValueError, match=r'config.foo is not a .* lanes, '):
    default.Config.resolve({**config, 'foo': 1})
  del config['lanes']
  with pytest.raises(ValueError, match='config.lanes is missing'):
    default.Config.resolve(config)


def test_resolve_does_not_change_its_argument():
  config = default.get_config()
  before = ml_collections.ConfigDict(config)
  default.Config.resolve(config)
  assert config == before


@pytest.mark.parametrize(
  ('trials', 'expected'),
  [
    ('', ()),
    (None, ()),
    ({}, ()),
    ("{'learning_rate': [0.1, 1]}", [(0.1,), (1.0,)]),
    ({'learning_rate': (0.1, 0.2)}, [(0.1,), (0.2,)]),
    ("[{'learning_rate': 0.1}, {'learning_rate': 3}]", [(0.1,), (3.0,)]),
    (
      {'learning_rate': [0.1, 0.2], 'weight_decay': [0, 1e-4]},
      [(0.1, 0.0), (0.1, 1e-4), (0.2, 0.0), (0.2, 1e-4)],
    ),
  ],
)
def test_trials_in_every_form(trials, expected):
  found = _resolve(trials=trials)
  assert [tuple(row.values()) for row in found.trials] == list(expected)
  assert len(found.combinations) == max(1, len(expected))


def test_hparams_override_the_fields_of_all_arms():
  found = _resolve(
    arms='full,gain_adam',
    learning_rate=0.5,
    plasticity_scale=3.0,
    hparams={'gain_adam': {'learning_rate': 0.2, 'strength': 1}},
  )
  assert found.rates == {'full': 0.5, 'gain_adam': 0.2}
  assert found.numbers('full') == {'plasticity_scale': 3.0}
  assert found.numbers('gain_adam') == {
    'plasticity_scale': 3.0,
    'learning_rate': 0.2,
    'strength': 1.0,
  }


def test_every_hyperparameter_is_a_flag():
  config = default.get_config()
  for name, arm in optimizers.ARMS.items():
    assert set(config.hparams[name]) == set(arm.hyperparameters)
