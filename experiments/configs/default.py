"""The default run: NeuroPlastic and its ablation on the embedded digits.

Every field can be given as a flag: `--config.dataset=fashion_mnist`. A field
that is None takes the default of the data set, in `experiments.settings`.
"""

import ml_collections
from ml_collections import config_dict


def get_config() -> ml_collections.ConfigDict:
  """The configuration and its defaults."""
  config = ml_collections.ConfigDict()

  # digits, mnist, fashion_mnist, cifar10, or synthetic[:HxWxC[:CLASSES…]].
  config.dataset = 'digits'
  # How much of the training set, stratified, in (0, 1].
  config.fraction = 1.0
  # The share of training labels that are wrong, in [0, 1).
  config.label_noise = 0.0

  # mlp, cnn or resnet18.
  config.model = config_dict.placeholder(str)

  # Optimizers under comparison, of `experiments.optimizers`, comma-separated
  # or a tuple.
  config.arms = any_type('full,gradient_only')
  # A number for all arms, or one per arm, comma-separated or a tuple; '' for
  # each arm's own default.
  config.learning_rate = any_type('')
  # constant or cosine.
  config.schedule = 'constant'
  # κ of the full arm, and how many epochs its warm-up takes.
  config.plasticity_scale = 2.0
  config.warmup_epochs = 2
  # L2 regularisation; of adamw, decoupled, and 0.01 where this is 0.
  config.weight_decay = 0.0

  config.epochs = config_dict.placeholder(int)
  config.batch_size = config_dict.placeholder(int)

  # How many seeds, and the first.
  config.seeds = 5
  config.seed = 0
  # How many replicas run at once on a device; 0 for 1 on CPUs, else all.
  config.lanes = 0

  # Epochs from one checkpoint to the next.
  config.checkpoint_every = 1
  # Record and draw what α did, at the last update of each epoch, for the arms
  # that can tell.
  config.diagnostics = True
  # Also write TensorBoard events.
  config.tensorboard = False
  return config


def any_type(value: object) -> config_dict.FieldReference:
  """A field whose later values may be of another type than its default."""
  return config_dict.FieldReference(value, field_type=object)
