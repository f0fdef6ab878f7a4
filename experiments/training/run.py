"""A run: all arms and trials of one configuration, from start to end.

It knows what it trains and what it measures, and keeps the run directory. Who
shows it, and who draws it, it is given: an `Observer`.
"""

from collections.abc import Iterator
import contextlib
import dataclasses
from pathlib import Path
from typing import Any

import jax
import numpy as np

from experiments import data
from experiments import errors
from experiments import files
from experiments import interrupts
from experiments import optimizers
from experiments.configs import fields
from experiments.configs.default import Config
from experiments.training import checkpoints
from experiments.training import distributed
from experiments.training import engine
from experiments.training import mapping
from experiments.training import provenance
from experiments.training import run_tables
from experiments.training import trials
from experiments.training import wiring
from experiments.training.records import History
from experiments.training.run_tables import Variant
from experiments.training.session import Session
from experiments.workdir import Workdir

CONFIG = 'config.json'
# Of the run directory; 2 has orbax's own checkpoints.
_FORMAT = 2
_SAVED = 'checkpoints'
# What a run writes beside its configuration.
_WRITTEN = (
  _SAVED,
  'curves.png',
  'diagnostics',
  'diagnostics.csv',
  'diagnostics.jsonl',
  'evaluations.csv',
  'first_task.png',
  'forgetting.png',
  'metrics.csv',
  'metrics.jsonl',
  'overview.png',
  'results.json',
  'stream.png',
  'tensorboard',
)


class Run:
  """What is trained, and of each arm what was measured so far.

  An arm has a trial for every combination of hyperparameters and every seed;
  those of the first combination come first.

  Attributes:
    config: what the user asked for.
    dataset: what is evaluated is its test part, whatever that is.
    workdir: the run directory.
    tasks: the stream that is learned; None for ordinary training.
    context: what the optimizers know of the run.
    histories: by arm, its metrics.
    compile_seconds: by arm, of those that this process compiled.
  """

  def __init__(
    self, config: Config, dataset: data.Dataset, workdir: Path
  ) -> None:
    self.config = config
    self.dataset = dataset
    self.workdir = workdir
    _check_fraction(config, dataset)
    # Subsets and label noise are the same for every arm.
    self._setup = wiring.set_up(config, dataset, config.seed_list)
    self.tasks = self._setup.tasks
    self.context = self._setup.context
    _check_updates(config, self.context.steps_per_epoch)
    self.histories: dict[str, History] = {}
    self.compile_seconds: dict[str, float] = {}
    # What a model or an optimizer refuses shows now, not after hours.
    for arm in config.arms:
      self._check_numbers(arm)
    jax.eval_shape(self.trainer(arm).init, self.trials(arm))

  def _check_numbers(self, arm: str) -> None:
    """Has the optimizer check its hyperparameters: it cannot check tracers."""
    chosen = optimizers.ARMS[arm]
    for numbers in self.config.combinations:
      given = {**self.config.numbers(arm), **numbers}
      try:
        chosen.build(chosen.values(given), self.context)
      except ValueError as e:
        raise errors.InvalidValueError(f'{arm} cannot be built: {e}') from e

  @property
  def title(self) -> str:
    """What stands above its pictures and tables."""
    config = self.config
    what = [config.dataset, config.model, f'{config.length} {config.unit}s']
    if config.stream:
      restarted = ', restarted' if config.restart else ''
      what.insert(0, config.stream + restarted)
    return ', '.join(what)

  def trials(self, arm: str) -> trials.Trials:
    """The trials of an arm, with their traced hyperparameters."""
    rate = {optimizers.LEARNING_RATE: self.config.rates[arm]}
    return self._setup.trials.combined(
      [{**rate, **numbers} for numbers in self.config.combinations]
    )

  def trainer(self, arm: str) -> engine.Trainer:
    """The engine, set up for one arm."""
    config = self.config
    return self._setup.trainer(
      arm,
      values=config.numbers(arm),
      diagnosed=config.diagnostics,
      lanes=config.lanes,
    )

  def variants(self) -> dict[str, Variant]:
    """By label, every arm with every combination of hyperparameters so far."""
    found = {}
    seeds = self.config.seeds
    for arm, history in self.histories.items():
      for i, numbers in enumerate(self.config.combinations):
        values = [f'{name}={value:g}' for name, value in numbers.items()]
        part = history.part(slice(i * seeds, (i + 1) * seeds))
        found[', '.join([arm, *values])] = Variant(arm, numbers, part)
    return found

  def results(self) -> dict[str, Any]:
    """What `results.json` says, by variant."""
    config = self.config
    found = {}
    for label, (arm, numbers, history) in self.variants().items():
      rate = numbers.get(optimizers.LEARNING_RATE, config.rates[arm])
      found[label] = run_tables.summarize(
        history, config.seed_list, rate, config.length, config.unit
      )
      if numbers:
        found[label] |= {'arm': arm, 'numbers': dict(numbers)}
    return found

  def record(self, arm: str, history: History) -> None:
    """Takes an arm's metrics, and writes all that is known of the run."""
    found = {**self.histories, arm: history}
    # A later arm may have been there before.
    self.histories = {x: found[x] for x in self.config.arms if x in found}
    if distributed.is_primary():
      run_tables.write(
        self.workdir,
        tuple(self.variants().values()),
        self.config.seed_list,
        self.context.steps_per_epoch,
        self.config.unit,
      )
      files.write_json(self.workdir / 'results.json', self.results())


def _check_fraction(config: Config, dataset: data.Dataset) -> None:
  """Refuses a fraction of which only the one image of each class is left."""
  largest = int(np.bincount(dataset.train_labels).max())
  if config.fraction * largest < 1:
    raise fields.refusal(
      'fraction',
      f'at least {1 / largest:.3g}, one of the {largest} training images that '
      f'the largest class of {dataset.spec.name} has',
      config.fraction,
    )


def _check_updates(config: Config, updates: int) -> None:
  """Refuses more updates than an int32 counts."""
  if config.length * updates >= 2**31:
    raise errors.InvalidValueError(
      f'config.{config.unit}s must be at most {(2**31 - 1) // updates} with '
      f'{updates} updates each, as updates are counted below 2³¹; got '
      f'{config.length}.'
    )


class Observer:
  """What a run calls as it goes; this one shows and plots nothing."""

  def started(self, run: Run) -> None:
    """The run directory is claimed, and nothing is trained yet."""

  def log(self, text: str) -> None:
    """Something happened that a person may want to know."""

  @contextlib.contextmanager
  def training(self, run: Run, arm: str, session: Session) -> Iterator[None]:
    """Around the training of an arm, from wherever it was to its end."""
    del run, arm, session
    yield

  def advanced(self, session: Session) -> None:
    """Some updates or batches were done, a few seconds' worth."""

  def epoch(self, history: History) -> None:
    """An epoch is trained, evaluated and recorded."""

  def finished(self, run: Run) -> None:
    """All arms are trained; the run directory is still claimed."""


def load(config: Config, data_dir: str | None = None) -> data.Dataset:
  """The data set of a run; its test part is what the run evaluates on."""
  dataset = data.load(config.dataset, data_dir=data_dir)
  return data.validation(dataset) if config.split == 'validation' else dataset


def train(
  config: Config,
  workdir: Path,
  observer: Observer,
  *,
  data_dir: str | None = None,
  resume: bool = True,
  overwrite: bool = False,
) -> Run:
  """Trains all arms, and leaves everything in the run directory.

  A run that is there is resumed, or deleted where `overwrite` is given.

  Raises:
    UserError: the data set or the model cannot be what the configuration says,
      or the directory cannot be used.
    StoppedError: the process was asked to end; what it had is saved.
  """
  dataset = load(config, data_dir)
  # Before the directory is touched: here wrong settings show.
  run = Run(config, dataset, workdir)
  claim = Workdir(workdir, 'run', 'train', CONFIG, _FORMAT).claimed(
    dataclasses.asdict(config),
    _WRITTEN,
    resume=resume,
    overwrite=overwrite,
    may_change=config.may_resume,
  )
  with contextlib.ExitStack() as stack:
    distributed.on_primary(lambda: stack.enter_context(claim))
    if distributed.is_primary():
      provenance.begin(workdir)
    observer.started(run)
    count = config.seeds * len(config.combinations)
    pixels = mapping.replicate(engine.to_device(run.dataset), count)
    saved = {
      arm: checkpoints.Checkpoints(workdir / _SAVED / arm, observer.log)
      for arm in config.arms
    }
    for arm, each in saved.items():
      stack.callback(each.close)
      # The tables keep the rows of arms that are trained further only later.
      if history := each.history():
        run.histories[arm] = history
    for arm, each in saved.items():
      _train_arm(run, arm, pixels, observer, each)
    observer.finished(run)
    if distributed.is_primary():
      provenance.end(workdir)
  return run


def _train_arm(
  run: Run,
  arm: str,
  pixels: engine.Pixels,
  observer: Observer,
  saved: checkpoints.Checkpoints,
) -> None:
  """Trains all trials of one arm, from its last checkpoint on."""
  epochs = run.config.length
  session = Session(run.trainer(arm), run.trials(arm), pixels, saved)
  run.record(arm, session.history)
  if session.finished(epochs):
    observer.log(f'{arm}: finished before')
  else:
    if session.done:
      observer.log(f'{arm}: resumes {_place(session, run.config)}')
    session.compile()
    run.compile_seconds[arm] = session.compile_seconds
    observer.log(f'{arm}: compiled in {session.compile_seconds:.1f} s')

  with interrupts.Stop() as stop, observer.training(run, arm, session):

    def pause() -> None:
      if number := distributed.largest(stop.number):
        session.save()
        where = f'{arm}, {_place(session, run.config)}'
        raise interrupts.StoppedError(number, where)
      observer.advanced(session)

    while not session.finished(epochs):
      pause()
      session.train_epoch(pause)
      epoch = session.history.epochs
      if epoch % run.config.checkpoint_every == 0 or session.finished(epochs):
        session.save()
      run.record(arm, session.history)
      observer.epoch(session.history)


def _place(session: Session, config: Config) -> str:
  """Where a training is, in words."""
  epoch, update = divmod(session.done, session.steps)
  if not update:
    return f'after {config.unit} {epoch} of {config.length}'
  return (
    f'in {config.unit} {epoch + 1} of {config.length}, after {update} of '
    f'{session.steps} updates'
  )
