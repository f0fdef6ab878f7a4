"""The configuration of `experiments.aot`; every field can be a flag."""

from collections.abc import Mapping
import dataclasses
from typing import Any

import ml_collections

from experiments import models
from experiments import optimizers
from experiments.configs import fields


@dataclasses.dataclass(frozen=True)
class Config:
  """What is compiled; the dataclass holds every field checked."""

  # Comma-separated or a tuple: cnn, mlp and resnet18, for images of the size
  # that they were published for; stack, 33 million parameters, and stack1b,
  # 1.02 billion, both transformers with scanned layers.
  model: tuple[str, ...] = fields.choices(
    'mlp,resnet18,stack1b', (*models.MODELS, *models.STACKS)
  )
  # Optimizers, of `experiments.optimizers`.
  arms: tuple[str, ...] = fields.choices('full,adamw', tuple(optimizers.ARMS))
  # Examples an update on each device; sequences where the model is a stack.
  batch_size: int = fields.integer(16, low=1)
  # Tokens in a sequence.
  sequence_length: int = fields.integer(1024, low=1)
  # From this number of elements on, a tensor is split over the devices.
  min_size_to_shard: int = fields.integer(2**22, low=1, high=2**63 - 1)

  @classmethod
  def resolve(cls, config: Mapping[str, Any]) -> 'Config':
    """Checks every field; raises an InvalidValueError that names it."""
    return cls(**fields.values(cls, config))


def get_config() -> ml_collections.ConfigDict:
  """The configuration and its defaults."""
  return fields.config_dict(Config)
