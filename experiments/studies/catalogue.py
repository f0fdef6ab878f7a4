"""The studies, by name; each is data, and nothing else has to know of it."""

from collections.abc import Mapping
import dataclasses
import functools

from experiments.optimizers import LEARNING_RATE
from experiments.optimizers import PLASTICITY_SCALE
from experiments.studies.declarations import Condition
from experiments.studies.declarations import DEFAULT
from experiments.studies.declarations import on_stream
from experiments.studies.declarations import STABLE
from experiments.studies.declarations import Study
from experiments.studies.declarations import Task
from experiments.studies.declarations import TUNED
from experiments.studies.declarations import Tuning
from experiments.studies.tuner import Budget

CONTROLS = (
  *('gradient_only_same_range', 'unit_mean', 'mean_of_gradient_only'),
  *('unit_rms', 'shuffled'),
)
# The reference of tables and targets, and those that are read first.
KEY_ARMS = (
  *('full', 'full_no_clip', 'gradient_only', *CONTROLS),
  *('sgd', 'sgdm', 'adam', 'adamw', 'nadamw', 'muon'),
  *('schedule_free', 'cautious_adamw'),
)
# References without α, and with an α that holds no information.
NO_INFORMATION = ('sgd', 'shuffled')
RIVALS = ('adabelief', 'grams', 'mgup', 'm_svag', 'lion', 'prodigy')
OVER_ADAM = ('direct_adam', 'gain_adam', 'momentum_adam', 'trust_ratio_adam')
ALL_ARMS = (*KEY_ARMS, *RIVALS, *OVER_ADAM)

# Candidates for a recommendation, and their references.
RECOMMENDED = (
  *('full', 'full_no_clip', 'gradient_only', 'unit_mean', 'gain_adam'),
  *('sgdm', 'adam', 'adamw', 'muon', 'schedule_free'),
)
# The same where five seeds of an arm take half an hour on a CPU.
RECOMMENDED_FEW = ('unit_mean', 'gradient_only', 'sgdm', 'adamw')

# With nothing tuned, on another data set and model.
TRANSFER = ('full', 'gradient_only', 'sgdm', 'adam', 'adamw', 'muon')

# Every rule over every base, with homeostasis as published and without.
HYBRIDS = tuple(
  f'{rule}_{base}{homeostasis}'
  for rule in ('direct', 'gain', 'momentum', 'trust_ratio')
  for base in ('sgdm', 'adam', 'muon')
  for homeostasis in ('', '_homeostasis')
)

# Each signal alone, and each pair.
SIGNALS = (
  *('signal_activity', 'signal_gradient', 'signal_memory'),
  *('signal_activity_gradient', 'signal_activity_memory'),
  'signal_gradient_memory',
)
PHASES = ('gain_adam_early', 'gain_adam_middle', 'gain_adam_late')
SCOPES = tuple(
  f'gain_adam_{part}' for part in ('early_blocks', 'late_blocks', 'classifier')
)

# α without what the norm clip hides, and the controls of the same.
NO_CLIP = (
  *('full_no_clip', 'gradient_only_no_clip', 'memory_only_no_clip'),
  *('unit_rms_no_clip', 'unit_mean_no_clip', 'shuffled_no_clip'),
)
STREAM_ARMS = (
  *('full', 'gradient_only', *NO_CLIP, 'gain_adam'),
  *('sgd', 'sgdm', 'adam', 'adamw', 'nadamw', 'lion'),
  *('l2_init', 'shrink_and_perturb', 'upgd', 'weight_clipping'),
  *('hare_and_tortoise', 'classp', 'neural_variability'),
)
# Whether α knows something is asked of these; so they get more seeds.
KEY_STREAM_ARMS = (*NO_CLIP, 'sgd', 'adamw', 'upgd', 'l2_init')
# Which signal makes α at the norm of SGD work, or is it its distribution alone?
UNIT_RMS_SIGNALS = tuple(
  f'unit_rms_{signal}_no_clip' for signal in ('gradient', 'activity', 'memory')
)
UNIT_RMS_SHUFFLED = 'unit_rms_shuffled_no_clip'
# Those that are to forget little take the place of those that are to stay
# plastic.
SPLIT_ARMS = (
  *('full', 'gradient_only', 'full_no_clip', 'unit_rms_no_clip'),
  *('sgd', 'adam', 'adamw', 'upgd', 'l2_init', 'classp'),
  *('hare_and_tortoise', 'neural_variability'),
  *('ewc', 'synaptic_intelligence', 'memory_aware', 'metaplasticity'),
)
# An update of it takes ten times as long as the others'.
_SLOW = {'muon': 2}

# Regeneration of inactive weights, and what is left of it without a property.
REGENERATION_CONTROLS = (
  *('regenerate_evenly', 'regenerate_misplaced', 'regenerate_to_zero'),
)
# Those that get more seeds where not all do.
KEY_REGENERATION_ARMS = (
  *('regenerate_inactive_sgd', 'regenerate_inactive', 'swr'),
  *(*REGENERATION_CONTROLS, 'sgd', 'adam', 'l2_init', 'upgd'),
)
_SLOW_REGENERATION = {'muon': 5, 'regenerate_inactive_muon': 5}
REGENERATION_SPLIT_ARMS = (
  *(*KEY_REGENERATION_ARMS, 'adamw', 'shrink_and_perturb'),
)
REGENERATION_ARMS = (*REGENERATION_SPLIT_ARMS, *_SLOW_REGENERATION)

_DIGITS = Task('digits', 'mlp', epochs=20, batch_size=32)
_FASHION = Task('fashion_mnist', 'mlp')
_FASHION_10 = dataclasses.replace(_FASHION, fraction=0.1)
_MNIST = Task('mnist', 'mlp')
# As published: ten epochs of all training images.
_PUBLISHED = dataclasses.replace(_MNIST, held_out=False)
_CIFAR10 = Task('cifar10', 'cnn', fraction=0.1, held_out=False)

# By the names of their conditions.
_NOISY = {
  f'fashion_mnist_10_noise_{round(100 * noise)}': dataclasses.replace(
    _FASHION_10, label_noise=noise
  )
  for noise in (0.0, 0.2, 0.4)
}

_SPLITS = ('split', 'split_heads')
_STREAMS = {
  name: on_stream(name, 'mnist' if name in _SPLITS else 'fashion_mnist')
  for name in ('permuted_labels', 'permuted_inputs', 'random_labels', *_SPLITS)
}

# Is it what α knows? These are compared with what knows nothing, too.
_informed = functools.partial(Condition, references=NO_INFORMATION)
_at_defaults = functools.partial(Condition, rulesets=(DEFAULT,))
_at_stable_values = functools.partial(Condition, rulesets=(STABLE,))


def _on(name: str, seeds: int | None = 5) -> Condition:
  """A stream as published, on which its arms are tuned."""
  return Condition(
    name,
    _STREAMS[name],
    tuned_on=name,
    arms=SPLIT_ARMS if name in _SPLITS else None,
    seeds=seeds,
    default_seeds=5,
  )


def _decayed(name: str, what: str, decay: float) -> Condition:
  """The tuned arms that descend along α ⊙ g, with another weight decay."""
  return Condition(
    f'{name}_{what}',
    _STREAMS[name],
    rulesets=(TUNED,),
    tuned_on=name,
    numbers={'weight_decay': decay},
    arms=('gradient_only', *NO_CLIP, 'sgd'),
    seeds=20,
  )


def _normed(
  name: str,
  arms: tuple[str, ...] = ('gradient_only', 'full_no_clip', 'adam', 'adamw'),
) -> Condition:
  """Layer norm, with the hyperparameters that were tuned without."""
  model = 'mlp_wide_norm' if name in _SPLITS else 'mlp_norm'
  return Condition(
    f'{name}_norm',
    dataclasses.replace(_STREAMS[name], model=model),
    tuned_on=name,
    arms=arms,
    seeds=5,
  )


def _restarted(
  name: str, arms: tuple[str, ...] = ('gradient_only', 'sgd', 'adam')
) -> Condition:
  """A new network for every task: what is there to lose."""
  return _at_defaults(
    f'{name}_restarted',
    dataclasses.replace(_STREAMS[name], restart=True),
    arms=arms,
    seeds=5,
  )


def _regenerated(name: str, seeds: int | None) -> tuple[Condition, ...]:
  """Regeneration on a stream, with layer norm, and what there is to lose."""
  condition = Condition(
    name,
    _STREAMS[name],
    tuned_on=name,
    arms=REGENERATION_SPLIT_ARMS if name in _SPLITS else None,
    seeds=seeds,
    references=('adam', 'muon', 'regenerate_inactive'),
  )
  normed = _normed(name, ('adam', 'adamw', 'regenerate_inactive'))
  if name in _SPLITS:
    return condition, normed
  return condition, _restarted(name, ('adam',)), normed


def _unchanging(name: str, task: Task, schedule: str) -> Condition:
  """One task: does regeneration cost anything where nothing changes?"""
  return _at_defaults(
    f'{name}_{schedule}',
    dataclasses.replace(task, schedule=schedule),
    arms=('sgd', 'regenerate_inactive_sgd', 'adam', 'regenerate_inactive'),
    seeds=20,
    references=('sgd', 'adam'),
  )


def _sensitive(name: str, rate: float, threshold: float) -> Condition:
  """A point of the grid that shows how much the hyperparameters matter."""
  return _at_defaults(
    f'{name}_rate_{rate:g}_threshold_{threshold:g}',
    _STREAMS[name],
    numbers={'rate': rate, 'threshold': threshold},
    arms=('regenerate_inactive',),
    seeds=5,
  )


def _stream_tuning(arms: Mapping[str, tuple[str, ...]]) -> Tuning:
  """By stream, which arms are tuned on it.

  On the first tasks; a split on all, in other orders of the classes.
  """
  return Tuning(
    {
      name: task if name in _SPLITS else dataclasses.replace(task, tasks=10)
      for name, task in _STREAMS.items()
      if name in arms
    },
    tuple(dict.fromkeys(arm for some in arms.values() for arm in some)),
    Budget(rates=5, trials=8, rounds=1, finalists=1, seeds=1),
    only=arms,
  )


# Tuned once; a condition takes the hyperparameters of the nearer of the two.
_TUNING_10 = Tuning({'fashion_mnist_10': _FASHION_10}, ALL_ARMS)
_TUNING = Tuning(
  {**_TUNING_10.tasks, 'fashion_mnist': _FASHION},
  ALL_ARMS,
  # Ten times as long: for those that are read first, and α over Adam.
  only={'fashion_mnist': (*KEY_ARMS, 'gain_adam')},
)

STUDIES = {
  study.name: study
  for study in (
    Study(
      'digits',
      ALL_ARMS,
      (Condition('digits', _DIGITS, tuned_on='digits'),),
      Tuning({'digits': _DIGITS}, ALL_ARMS),
      key_arms=KEY_ARMS,
    ),
    Study(
      'mnist',
      KEY_ARMS,
      (
        _at_defaults('mnist', _MNIST),
        *(
          _at_defaults(
            f'mnist_rate_{rate:g}_warmup_{warmup}_kappa_{kappa:g}',
            dataclasses.replace(_PUBLISHED, warmup_epochs=warmup),
            numbers={LEARNING_RATE: rate, PLASTICITY_SCALE: kappa},
            arms=('full', 'gradient_only'),
            seeds=10,
          )
          for warmup in (2, 0, 1, 3)
          for rate in (0.1, 0.03, 0.3)
          for kappa in (2.0, 0.5, 1.0)
        ),
      ),
      key_arms=KEY_ARMS,
    ),
    Study(
      'fashion_mnist',
      ALL_ARMS,
      (_informed('fashion_mnist', _FASHION, tuned_on='fashion_mnist'),),
      _TUNING,
      key_arms=KEY_ARMS,
    ),
    Study(
      'low_data',
      ALL_ARMS,
      tuple(
        _informed(
          f'fashion_mnist_{round(100 * fraction)}',
          dataclasses.replace(_FASHION, fraction=fraction),
          tuned_on=near,
        )
        for fraction, near in (
          (0.1, 'fashion_mnist_10'),
          (0.25, 'fashion_mnist_10'),
          (1.0, 'fashion_mnist'),
        )
      ),
      _TUNING,
      key_arms=KEY_ARMS,
    ),
    Study(
      'label_noise',
      ALL_ARMS,
      tuple(
        _informed(name, task, tuned_on='fashion_mnist_10')
        for name, task in _NOISY.items()
      ),
      _TUNING_10,
      key_arms=KEY_ARMS,
    ),
    # Nothing is tuned on it: it shows what transfers.
    Study(
      'cifar10',
      TRANSFER,
      (_at_defaults('cifar10_10', _CIFAR10, seeds=5),),
    ),
    # On all data, for a GPU, and short.
    Study(
      'cifar10_resnet18',
      TRANSFER,
      (
        _at_defaults(
          'cifar10',
          dataclasses.replace(
            _CIFAR10, model='resnet18', fraction=1.0, epochs=3
          ),
          seeds=2,
        ),
      ),
    ),
    # The values tuned on Fashion-MNIST, frozen, on other data.
    Study(
      'recommended',
      RECOMMENDED,
      (
        *(
          _at_stable_values(name, task)
          for name, task in (('mnist', _MNIST), *[*_NOISY.items()][1:])
        ),
        _at_stable_values(
          'cifar10_10', _CIFAR10, arms=RECOMMENDED_FEW, seeds=5
        ),
        *(
          _at_stable_values(
            name,
            _STREAMS[name],
            arms=('full', 'schedule_free', *RECOMMENDED_FEW),
            seeds=5,
          )
          for name in ('permuted_labels', 'permuted_inputs')
        ),
      ),
      _TUNING,
      key_arms=KEY_ARMS,
    ),
    Study(
      'design_space',
      (
        *('full', 'full_no_clip', 'gradient_only', 'bounded', 'orthogonal'),
        *('controlled', 'controlled_layer', 'controlled_classifier'),
        *(*SIGNALS, *PHASES, *SCOPES, *HYBRIDS),
        *('sgd', 'sgdm', 'adam', 'adamw', 'muon'),
      ),
      (
        _at_defaults(
          'fashion_mnist_10',
          _FASHION_10,
          # The whole method, and the bases of the hybrids.
          references=('full', 'sgdm', 'adam', 'muon'),
        ),
      ),
    ),
    Study(
      'streams',
      (*STREAM_ARMS, *_SLOW),
      (
        _on('permuted_labels', seeds=None),
        _restarted('permuted_labels'),
        _decayed('permuted_labels', 'no_decay', 0.0),
        _decayed('permuted_labels', 'decay', 1e-3),
        _normed('permuted_labels'),
        *(
          make(name)
          for name in list(_STREAMS)[1:]
          for make in (_on, _restarted, _normed)
        ),
      ),
      _stream_tuning(
        {
          name: SPLIT_ARMS if name in _SPLITS else STREAM_ARMS
          for name in _STREAMS
        }
      ),
      key_arms=KEY_STREAM_ARMS,
      most_seeds=_SLOW,
    ),
    Study(
      'stream_signals',
      ('sgd', 'unit_rms_no_clip', *UNIT_RMS_SIGNALS, UNIT_RMS_SHUFFLED),
      (_at_defaults('permuted_labels', _STREAMS['permuted_labels'], seeds=20),),
    ),
    # Muon leads on this stream. Does α add to it?
    Study(
      'stream_muon',
      ('muon', 'gain_muon', 'unit_rms_muon'),
      (
        _at_defaults(
          'permuted_labels',
          _STREAMS['permuted_labels'],
          seeds=5,
          references=('muon',),
        ),
      ),
    ),
    # Are weights that are not learned worth returning to where they began?
    Study(
      'regeneration',
      REGENERATION_ARMS,
      (
        *_regenerated('permuted_labels', seeds=20),
        *_regenerated('random_labels', seeds=None),
        *_regenerated('permuted_inputs', seeds=5),
        *(
          _unchanging(name, task, schedule)
          for schedule in ('constant', 'cosine')
          for name, task in (
            ('digits', _DIGITS),
            ('fashion_mnist_10', _FASHION_10),
            [*_NOISY.items()][-1],
            ('fashion_mnist', _FASHION),
            ('mnist', _MNIST),
          )
        ),
        *_regenerated('split', seeds=5),
        *(
          _sensitive(name, rate, threshold)
          for name in ('permuted_labels', 'random_labels')
          for rate in (1e-3, 3e-3, 0.01, 0.03, 0.1)
          for threshold in (0.01, 0.03, 0.1, 0.3)
        ),
      ),
      _stream_tuning(
        {
          **dict.fromkeys(
            ('permuted_labels', 'random_labels', 'permuted_inputs'),
            REGENERATION_ARMS,
          ),
          'split': REGENERATION_SPLIT_ARMS,
        }
      ),
      seeds=5,
      key_arms=KEY_REGENERATION_ARMS,
      most_seeds=_SLOW_REGENERATION,
    ),
    # The published setting, and with the moments in bfloat16.
    Study(
      'published',
      ('full', 'gradient_only', 'adam', 'adamw', 'bfloat16_moments'),
      (
        _at_defaults(
          'fashion_mnist',
          dataclasses.replace(_PUBLISHED, dataset='fashion_mnist'),
        ),
        _at_defaults('mnist', _PUBLISHED),
        _at_defaults(
          'digits', dataclasses.replace(_DIGITS, held_out=False), seeds=10
        ),
      ),
      seeds=5,
    ),
    # The results of arXiv:2407.01704, to check the engine's streams.
    Study(
      'published_stream',
      ('adam', 'weight_clipping'),
      (
        _at_defaults(
          'online_permuted_inputs',
          on_stream('online_permuted_inputs', 'mnist'),
          numbers={'learning_rate': 1e-4, 'bound': 1.0},
        ),
      ),
      seeds=3,
    ),
  )
}
