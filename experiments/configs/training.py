"""The description of a training: what is learned, and for how long."""

import dataclasses

from experiments.data import streams


@dataclasses.dataclass(frozen=True)
class Training:
  """What is learned, and for how long; the same for all arms.

  The configuration of a run and the tasks of a study extend it, so that both
  train the same; `training.wiring.set_up` makes trials and trainers of it.

  Attributes:
    dataset: its name.
    model: its name.
    fraction: how much of the training part is kept, in (0, 1].
    label_noise: the share of wrong training labels, in [0, 1).
    epochs: how many; without meaning with a stream.
    batch_size: examples an update.
    warmup_epochs: how long κ is warmed up.
    schedule: of the learning rate, a key of `schedules.SCHEDULES`.
    stream: the name of a stream; '' for ordinary training.
    tasks: how many the stream has, instead of epochs.
    updates: of each of them; None for what the stream says.
    restart: whether every task begins with a new network and a new optimizer.
  """

  dataset: str
  model: str
  fraction: float = 1.0
  label_noise: float = 0.0
  epochs: int | None = 10
  batch_size: int = 128
  warmup_epochs: int = 2
  schedule: str = 'constant'
  stream: str = ''
  tasks: int | None = 0
  updates: int | None = None
  restart: bool = False

  @property
  def length(self) -> int:
    """How many epochs, or tasks of a stream, it has."""
    length = self.tasks if self.stream else self.epochs
    assert length is not None
    return length

  @property
  def unit(self) -> str:
    """What `length` counts: epochs, or tasks of a stream."""
    return 'task' if self.stream else 'epoch'

  @property
  def splits(self) -> bool:
    """Whether it is a stream whose tasks have classes of their own."""
    return bool(self.stream) and streams.STREAMS[self.stream].splits
