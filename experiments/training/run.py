"""A run: all arms and seeds of one configuration, from start to end.

It knows what it trains and what it measures, and keeps the run directory. Who
shows it, and who draws it, it is given: an `Observer`.
"""

from collections.abc import Callable, Iterator
import contextlib
import dataclasses
import math
from pathlib import Path
import time
from typing import Any

import jax

from experiments import data
from experiments import models
from experiments import optimizers
from experiments.configs.default import Config
from experiments.training import checkpoints
from experiments.training import diagnostics
from experiments.training import distributed
from experiments.training import engine
from experiments.training import records
from experiments.training import run_directory
from experiments.training import stopping
from experiments.training import trials
from experiments.training import wiring

AfterEpoch = Callable[[records.History], None]


class Run:
  """What is trained, and of each arm what was measured so far.

  Attributes:
    config: what the user asked for.
    dataset: the data.
    workdir: the run directory.
    trials: one for each seed; subsets and label noise are the same for every
      arm.
    setting: what the optimizers know of the run.
    histories: by arm, its metrics.
    compile_seconds: by arm, of those that this process compiled.
  """

  def __init__(
    self, config: Config, dataset: data.Dataset, workdir: Path
  ) -> None:
    self.config = config
    self.dataset = dataset
    self.workdir = workdir
    self.trials = trials.make_trials(
      dataset,
      config.seed_list,
      fraction=config.fraction,
      label_noise=config.label_noise,
    )
    examples = self.trials.labels.shape[1]
    self.setting = optimizers.Setting(
      steps_per_epoch=math.ceil(examples / config.batch_size),
      epochs=config.epochs,
      warmup_epochs=config.warmup_epochs,
    )
    self.histories: dict[str, records.History] = {}
    self.compile_seconds: dict[str, float] = {}
    # A model may refuse the shape of the images: now, not after hours.
    arm = config.arms[0]
    jax.eval_shape(self.trainer(arm).init, self.trials_of(arm))

  @property
  def title(self) -> str:
    """What stands above its pictures and tables."""
    config = self.config
    return f'{config.dataset}, {config.model}, {config.epochs} epochs'

  def trials_of(self, arm: str) -> trials.Trials:
    """The trials with the numbers of an arm that are traced."""
    return self.trials.at({optimizers.LEARNING_RATE: self.config.rates[arm]})

  def trainer(self, arm: str) -> engine.Trainer:
    """The engine, set up for one arm."""
    config = self.config
    numbers = {'plasticity_scale': config.plasticity_scale}
    if config.weight_decay:
      numbers['weight_decay'] = config.weight_decay
    return wiring.trainer(
      optimizers.ARMS[arm],
      self.setting,
      spec=self.dataset.spec,
      make_model=models.MODELS[config.model].make,
      batch_size=config.batch_size,
      numbers=numbers,
      schedule=config.schedule,
      diagnosed=config.diagnostics,
      lanes=config.lanes or None,
    )

  def results(self) -> dict[str, Any]:
    """What `results.json` says, by arm."""
    config = self.config
    return {
      arm: records.summarize(
        history, config.seed_list, config.rates[arm], config.epochs
      )
      for arm, history in self.histories.items()
    }

  def record(self, arm: str, history: records.History) -> None:
    """Takes an arm's metrics, and writes all that is known of the run."""
    self.histories[arm] = history
    if not distributed.is_primary():
      return
    seeds, steps = self.config.seed_list, self.setting.steps_per_epoch
    metrics: list[dict[str, Any]] = []
    alphas: list[dict[str, Any]] = []
    for name, known in self.histories.items():
      metrics += records.rows(name, known, seeds, steps)
      alphas += known.diagnostics.rows(name, seeds, steps)
    records.write(self.workdir, metrics, self.results())
    diagnostics.write(self.workdir, alphas)


class Observer:
  """What a run calls as it goes; this one shows and draws nothing."""

  def started(self, run: Run) -> None:
    """The run directory is claimed, and nothing is trained yet."""

  def told(self, text: str) -> None:
    """Something happened that a person may want to know."""

  @contextlib.contextmanager
  def training(self, run: Run, arm: str, done: int) -> Iterator[AfterEpoch]:
    """Around the training of an arm.

    Args:
      run: the run.
      arm: the arm.
      done: how many epochs of it were trained before.

    Yields:
      What to call with the arm's metrics after every epoch.
    """
    del run, arm, done
    yield lambda history: None

  def finished(self, run: Run) -> None:
    """All arms are trained; the run directory is still claimed."""


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

  Args:
    config: the run.
    workdir: the run directory.
    observer: what is called as it goes.
    data_dir: where TFDS data sets lie.
    resume: whether to resume a run that is there.
    overwrite: whether to delete it and start again.

  Returns:
    The run, with what was measured.

  Raises:
    UserError: the data set or the model cannot be what the configuration says,
      or the directory cannot be used.
    StoppedError: the process was asked to end; what it had is saved.
  """
  # Before the directory is touched: here wrong settings show.
  run = Run(config, data.load(config.dataset, data_dir=data_dir), workdir)
  directory = run_directory.opened(
    workdir, dataclasses.asdict(config), resume=resume, overwrite=overwrite
  )
  with stopping.Terminator() as terminator, contextlib.ExitStack() as stack:
    distributed.on_primary(lambda: stack.enter_context(directory))
    observer.started(run)
    pixels = distributed.replicate(engine.to_device(run.dataset))
    for arm in config.arms:
      _train_arm(run, arm, pixels, observer, terminator)
    observer.finished(run)
  return run


def _train_arm(
  run: Run,
  arm: str,
  pixels: engine.Pixels,
  observer: Observer,
  terminator: stopping.Terminator,
) -> None:
  """Trains all trials of one arm, from its last checkpoint on."""
  epochs = run.config.epochs
  directory = run.workdir / 'checkpoints' / arm
  with contextlib.closing(checkpoints.Checkpoints(directory)) as saved:
    done = saved.latest() or 0
    history = records.History(run.config.seeds)
    if done:
      history = saved.history(done)
    run.record(arm, history)
    if done == epochs:
      observer.told(f'{arm}: finished before')
      return
    if done:
      observer.told(f'{arm}: resumes after epoch {done}')
    program = _Program(run, arm, pixels, saved, done)
    run.compile_seconds[arm] = program.compile_seconds
    observer.told(f'{arm}: compiled in {program.compile_seconds:.1f} s')
    if distributed.any_process(terminator.requested):
      raise stopping.StoppedError(f'{arm}, epoch {done} of {epochs}')

    with observer.training(run, arm, done) as after_epoch:
      for epoch in range(done + 1, epochs + 1):
        program.train_epoch(history)
        # Asked once: what arrives while this is saved stops the next epoch.
        stop = distributed.any_process(terminator.requested)
        if stop or epoch == epochs or epoch % run.config.checkpoint_every == 0:
          saved.save(epoch, program.state, history)
        run.record(arm, history)
        after_epoch(history)
        if stop:
          raise stopping.StoppedError(f'{arm}, epoch {epoch} of {epochs}')


class _Program:
  """The compiled programs of one arm, and the state that they carry on."""

  def __init__(
    self,
    run: Run,
    arm: str,
    pixels: engine.Pixels,
    saved: checkpoints.Checkpoints,
    done: int,
  ) -> None:
    trainer = run.trainer(arm)
    self._pixels = pixels
    self._trials = distributed.replicate(run.trials_of(arm))
    if done:
      abstract = jax.eval_shape(trainer.init, self._trials)
      self.state = saved.state(done, abstract)
    else:
      self.state = jax.jit(trainer.init)(self._trials)
    start = time.perf_counter()
    self._train_epoch = (
      jax.jit(trainer.train_epoch, donate_argnums=0)
      .lower(self.state, self._trials, pixels)
      .compile()
    )
    self._evaluate = (
      jax.jit(trainer.evaluate).lower(self.state, pixels).compile()
    )
    self.compile_seconds = time.perf_counter() - start

  def train_epoch(self, history: records.History) -> None:
    """Trains and evaluates, and adds an epoch to the metrics."""
    clock = [time.perf_counter()]
    self.state, train = self._train_epoch(
      self.state, self._trials, self._pixels
    )
    jax.block_until_ready((self.state, train))
    clock.append(time.perf_counter())
    test = jax.block_until_ready(self._evaluate(self.state, self._pixels))
    clock.append(time.perf_counter())
    train, test = distributed.fetch((train, test))
    history.append(
      train_loss=train.loss,
      train_accuracy=train.accuracy,
      test_loss=test.loss,
      test_accuracy=test.accuracy,
      train_seconds=clock[1] - clock[0],
      test_seconds=clock[2] - clock[1],
    )
    if train.diagnostics is not None:
      history.diagnostics.append(train.diagnostics)
