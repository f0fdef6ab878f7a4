"""What `experiments.aot` compiles; every field can be given as a flag."""

import ml_collections

from experiments.configs import default


def get_config() -> ml_collections.ConfigDict:
  """The configuration and its defaults."""
  config = ml_collections.ConfigDict()
  # Comma-separated or a tuple: mlp, cnn and resnet18, with the data set whose
  # shape they were published for; stack, 33 million parameters, and stack1b,
  # 1.02 thousand million, both transformers with scanned layers.
  config.model = default.any_type('mlp,resnet18,stack1b')
  # Optimizers, of `experiments.optimizers`.
  config.arms = default.any_type('full,adamw')
  # Examples an update on each device; sequences where the model is a stack.
  config.batch_size = 16
  # Tokens in a sequence.
  config.sequence_length = 1024
  # The number of elements from which on a tensor is split over the devices.
  config.min_size_to_shard = 2**22
  return config
