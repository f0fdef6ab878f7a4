"""Trains one configuration: its arms, all seeds, on one data set.

  python -m experiments.train
  python -m experiments.train --config.dataset=fashion_mnist \
    --config.arms=full,gradient_only,adam

With no flags: NeuroPlastic and its gradient-only ablation on the embedded
digits. The run directory holds the metrics, results, pictures and checkpoints.
Killed at any moment and started again with the same command, a run goes on from
its last checkpoint and ends as if it had never been killed.
"""

from collections.abc import Sequence
import contextlib
import dataclasses
import functools
import hashlib
import json
import math
import os
from pathlib import Path
import signal
import sys
import time
from typing import Any

from absl import app
from absl import flags
from absl import logging
import jax
from ml_collections import config_flags
import optax
from rich.console import Console

from experiments import checkpoints
from experiments import datasets
from experiments import diagnostic_figures
from experiments import diagnostics
from experiments import distributed
from experiments import engine
from experiments import events
from experiments import figures
from experiments import models
from experiments import optimizers
from experiments import records
from experiments import run_directory
from experiments import settings as settings_lib
from experiments import terminal

_CONFIG = config_flags.DEFINE_config_file(
  'config',
  str(Path(__file__).with_name('configs') / 'default.py'),
  'The configuration; override a field by --config.field=value.',
  # Unknown fields are refused by `settings`, in a sentence.
  lock_config=False,
  accept_new_attributes=True,
)
_WORKDIR = flags.DEFINE_string(
  'workdir',
  None,
  'The run directory. Default: runs/, then a name made from the settings.',
)
_DATA_DIR = flags.DEFINE_string(
  'data_dir', None, "Where TFDS data sets lie. Default: TFDS's own."
)
_RESUME = flags.DEFINE_bool(
  'resume', True, 'Go on with the run in --workdir; --noresume refuses to.'
)
_OVERWRITE = flags.DEFINE_bool(
  'overwrite', False, 'Delete the run in --workdir and start again.'
)
_DISTRIBUTED = flags.DEFINE_bool(
  'distributed',
  False,
  'This is one of several processes; on Cloud TPU and under Slurm JAX finds '
  'the others, elsewhere the three flags below say who they are.',
)
_COORDINATOR = flags.DEFINE_string(
  'coordinator_address', None, 'host:port of the first process.'
)
_NUM_PROCESSES = flags.DEFINE_integer(
  'num_processes', None, 'How many processes there are.', lower_bound=1
)
_PROCESS_ID = flags.DEFINE_integer(
  'process_id', None, 'Which of them this is, from 0.', lower_bound=0
)


class StoppedError(Exception):
  """The process was asked to end, and has saved what it had."""


class Terminator:
  """Remembers a SIGTERM until the epoch under way is saved."""

  def __init__(self) -> None:
    self.requested = False

  def __enter__(self) -> 'Terminator':
    self._before = signal.signal(signal.SIGTERM, self._handle)
    return self

  def __exit__(self, *_: Any) -> None:
    signal.signal(signal.SIGTERM, self._before)

  def _handle(self, *_: Any) -> None:
    self.requested = True


class Run:
  """A run: what it is, and of each arm what was measured so far."""

  def __init__(
    self,
    settings: settings_lib.Settings,
    dataset: datasets.Dataset,
    workdir: Path,
  ) -> None:
    self.settings = settings
    self.dataset = dataset
    self.workdir = workdir
    self.histories: dict[str, records.History] = {}
    # Subsets and label noise are the same for every arm.
    self.replicas = engine.make_replicas(
      dataset,
      settings.seed_list,
      fraction=settings.fraction,
      label_noise=settings.label_noise,
    )
    examples = self.replicas.labels.shape[1]
    self.setting = optimizers.Setting(
      steps_per_epoch=math.ceil(examples / settings.batch_size),
      epochs=settings.epochs,
      plasticity_scale=settings.plasticity_scale,
      warmup_epochs=settings.warmup_epochs,
      weight_decay=settings.weight_decay,
    )
    # A model may refuse the shape of the images: now, not after hours.
    jax.eval_shape(self.trainer(settings.arms[0]).init, self.replicas)

  def trainer(self, arm: str) -> engine.Trainer:
    """The engine, set up for one arm."""

    def make_optimizer(
      learning_rate: jax.Array, setting: optimizers.Setting = self.setting
    ) -> optax.GradientTransformationExtraArgs:
      schedule = optimizers.learning_rate_schedule(
        self.settings.schedule, learning_rate, setting
      )
      return optimizers.ARMS[arm].build(schedule, setting)

    diagnosed = dataclasses.replace(self.setting, diagnostics='per_leaf')
    diagnoses = self.settings.diagnostics and optimizers.ARMS[arm].alpha_range

    return engine.Trainer(
      dataset=self.dataset,
      make_model=models.MODELS[self.settings.model],
      make_optimizer=make_optimizer,
      make_diagnosed=(
        functools.partial(make_optimizer, setting=diagnosed)
        if diagnoses
        else None
      ),
      batch_size=self.settings.batch_size,
      lanes=self.settings.lanes or None,
    )

  def results(self) -> dict[str, Any]:
    """What `results.json` says, by arm."""
    settings = self.settings
    return {
      arm: records.summarize(
        history, settings.seed_list, settings.rates[arm], settings.epochs
      )
      for arm, history in self.histories.items()
    }

  def record(self, arm: str, history: records.History) -> None:
    """Takes an arm's metrics, and writes all that is known of the run."""
    self.histories[arm] = history
    if not distributed.is_primary():
      return
    rows = [
      row
      for name, known in self.histories.items()
      for row in records.rows(
        name, known, self.settings.seed_list, self.setting.steps_per_epoch
      )
    ]
    records.write(self.workdir, rows, self.results())
    diagnostics.write(
      self.workdir,
      [
        row
        for name, known in self.histories.items()
        for row in known.diagnostics.rows(
          name, self.settings.seed_list, self.setting.steps_per_epoch
        )
      ],
    )


def train_arm(
  run: Run,
  arm: str,
  pixels: engine.Pixels,
  console: Console,
  terminator: Terminator,
) -> float | None:
  """Trains all replicas of one arm, from its last checkpoint on.

  Args:
    run: the run, which gets the metrics.
    arm: the arm's name.
    pixels: the data, on the device.
    console: where progress is shown.
    terminator: says whether to stop early.

  Returns:
    How many seconds the compilation took; None if there was nothing to do.

  Raises:
    StoppedError: the process was asked to end; what it had is saved.
  """
  settings = run.settings
  directory = run.workdir / 'checkpoints' / arm
  with contextlib.closing(checkpoints.Checkpoints(directory)) as saved:
    done = saved.latest() or 0
    history = saved.history(done) if done else records.History(settings.seeds)
    run.record(arm, history)
    if done == settings.epochs:
      console.print(f'{arm}: finished before')
      return None

    trainer = run.trainer(arm)
    replicas = distributed.replicate(
      run.replicas.at_learning_rate(settings.rates[arm])
    )
    if done:
      console.print(f'{arm}: goes on after epoch {done}')
      state = saved.state(done, jax.eval_shape(trainer.init, replicas))
    else:
      state = jax.jit(trainer.init)(replicas)
    start = time.perf_counter()
    train_epoch = (
      jax.jit(trainer.train_epoch, donate_argnums=0)
      .lower(state, replicas, pixels)
      .compile()
    )
    evaluate = jax.jit(trainer.evaluate).lower(state, pixels).compile()
    compile_seconds = time.perf_counter() - start
    console.print(f'{arm}: compiled in {compile_seconds:.1f} s')
    if distributed.any_process(terminator.requested):
      raise StoppedError(f'{arm}, epoch {done} of {settings.epochs}')

    with contextlib.ExitStack() as stack:
      show = stack.enter_context(
        terminal.progress(console, arm, done, settings.epochs)
      )
      board = None
      if settings.tensorboard and distributed.is_primary():
        board = events.Events(
          run.workdir / 'tensorboard',
          arm,
          settings.seed_list,
          done,
          optimizers.ARMS[arm].alpha_range,
        )
        stack.enter_context(contextlib.closing(board))
      for epoch in range(done + 1, settings.epochs + 1):
        clock = [time.perf_counter()]
        state, train = train_epoch(state, replicas, pixels)
        jax.block_until_ready((state, train))
        clock.append(time.perf_counter())
        test = jax.block_until_ready(evaluate(state, pixels))
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
        # Asked once: what arrives while this is saved stops the next epoch.
        stop = distributed.any_process(terminator.requested)
        last = epoch == settings.epochs
        if stop or last or epoch % settings.checkpoint_every == 0:
          saved.save(epoch, state, history)
        run.record(arm, history)
        show(history)
        if board:
          board.add(history)
        if stop:
          raise StoppedError(f'{arm}, epoch {epoch} of {settings.epochs}')
    return compile_seconds


def train(
  settings: settings_lib.Settings,
  workdir: Path,
  console: Console,
  *,
  data_dir: str | None = None,
  resume: bool = True,
  overwrite: bool = False,
) -> dict[str, Any]:
  """Trains all arms, and leaves everything in the run directory.

  Args:
    settings: the run.
    workdir: the run directory.
    console: where progress and results are shown.
    data_dir: where TFDS data sets lie.
    resume: whether to go on with a run that is there.
    overwrite: whether to delete it and start again.

  Returns:
    What `results.json` says.

  Raises:
    ValueError: the data set or the model cannot be what the settings say.
    DatasetNotPreparedError: the data set is not on disk.
    RunDirectoryError: the directory cannot be used.
    StoppedError: the process was asked to end; what it had is saved.
  """
  # Before the directory is touched: here wrong settings show.
  run = Run(
    settings, datasets.load(settings.dataset, data_dir=data_dir), workdir
  )
  directory = run_directory.opened(
    workdir, dataclasses.asdict(settings), resume=resume, overwrite=overwrite
  )
  with Terminator() as terminator, contextlib.ExitStack() as stack:
    distributed.on_primary(lambda: stack.enter_context(directory))
    console.print(
      f'{settings.dataset}, {settings.model}: {settings.epochs} epochs, batch '
      f'{settings.batch_size}, {settings.seeds} seeds → {workdir}',
      soft_wrap=True,
    )
    compile_seconds = {}
    pixels = distributed.replicate(engine.to_device(run.dataset))
    for arm in settings.arms:
      seconds = train_arm(run, arm, pixels, console, terminator)
      if seconds is not None:
        compile_seconds[arm] = seconds
    results = run.results()
    if not distributed.is_primary():
      return results
    title = f'{settings.dataset}, {settings.model}, {settings.epochs} epochs'
    figures.curves(run.histories, workdir / 'curves.png', title)
    pictures = ['curves.png']
    for arm, history in run.histories.items():
      bounds = optimizers.ARMS[arm].alpha_range
      if bounds and history.diagnostics.epochs:
        pictures.append(f'diagnostics/{arm}.png')
        diagnostic_figures.draw(
          history.diagnostics, bounds, workdir / pictures[-1], f'{arm}: {title}'
        )
    console.print(terminal.results_table(results, compile_seconds, title))
    console.print(
      f'metrics, results, {", ".join(pictures)} are in {workdir}',
      soft_wrap=True,
    )
  return results


def default_workdir(settings: settings_lib.Settings) -> Path:
  """A directory that other settings do not share."""
  text = json.dumps(dataclasses.asdict(settings), sort_keys=True)
  digest = hashlib.sha256(text.encode()).hexdigest()[:8]
  dataset = settings.dataset.replace(':', '_')
  return Path('runs') / f'{dataset}-{settings.model}-{digest}'


def main(argv: Sequence[str]) -> None:
  """The program."""
  if len(argv) > 1:
    sys.exit(
      f'error: unexpected arguments: {" ".join(argv[1:])} (flags are written '
      '--name=value).'
    )
  if not flags.FLAGS['verbosity'].present:
    # Orbax tells of every file at the level that absl shows by default.
    logging.set_verbosity(logging.WARNING)
  try:
    distributed.initialize(
      enabled=_DISTRIBUTED.value,
      coordinator_address=_COORDINATOR.value,
      num_processes=_NUM_PROCESSES.value,
      process_id=_PROCESS_ID.value,
    )
    settings = settings_lib.resolve(_CONFIG.value)
    workdir = _WORKDIR.value or default_workdir(settings)
    train(
      settings,
      # The shell leaves the ~ of --workdir=~/x as it is.
      Path(os.path.expanduser(workdir)),
      # Paths are no markup, whatever they hold.
      Console(
        highlight=False,
        markup=False,
        emoji=False,
        quiet=not distributed.is_primary(),
      ),
      data_dir=_DATA_DIR.value,
      resume=_RESUME.value,
      overwrite=_OVERWRITE.value,
    )
  except (
    ValueError,
    datasets.DatasetNotPreparedError,
    distributed.PeerError,
    run_directory.RunDirectoryError,
  ) as e:
    distributed.leave_if_lost(e)
    sys.exit(f'error: {e}')
  except jax.errors.JaxRuntimeError as e:
    distributed.leave_if_lost(e)
    raise
  except StoppedError as e:
    print(f'stopped and saved: {e}. The same command goes on.', file=sys.stderr)
    sys.exit(128 + signal.SIGTERM)
  except KeyboardInterrupt:
    print(
      '\ninterrupted. The same command goes on from the last checkpoint.',
      file=sys.stderr,
    )
    sys.exit(128 + signal.SIGINT)


def parse_flags(argv: Sequence[str]) -> list[str]:
  """Parses the flags; a configuration that cannot be read is one sentence."""
  try:
    rest = app.parse_flags_with_usage(list(argv))
    dict(_CONFIG.value)
    return rest
  except OSError as e:
    # The last line is the reason, the others what ml_collections tried.
    sys.exit(f'error: --config: {str(e).splitlines()[-1].strip()}')


if __name__ == '__main__':
  app.run(main, flags_parser=parse_flags)
