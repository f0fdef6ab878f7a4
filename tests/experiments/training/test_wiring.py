"""The engine is set up for an arm with what the arm wants to know."""

import dataclasses

import optax

from experiments import data
from experiments import optimizers
from experiments.configs.training import Training
from experiments.training import wiring

NAME = 'synthetic:4x4x1:3:20:10'


def test_arms_know_the_training_and_the_order_of_the_model(monkeypatch):
  found = []

  def build(values, context):
    found.append(context)
    return optax.sgd(values['learning_rate'])

  arm = dataclasses.replace(optimizers.ARMS['sgd'], build=build)
  monkeypatch.setitem(optimizers.ARMS, 'sgd', arm)
  training = Training(NAME, 'mlp', batch_size=12, epochs=3, fraction=0.5)
  setup = wiring.set_up(training, data.load(NAME), [5, 6])
  examples = setup.trials.labels.shape[1]
  assert examples in (10, 11)
  setup.trainer('sgd').make_optimizer({})
  (context,) = found
  assert context.order[:3] == ('hidden1', 'hidden2', 'head')
  assert (context.steps_per_epoch, context.epochs) == (1, 3)
  assert context.warmup_epochs == 2


def test_tasks_of_a_stream_are_the_epochs_of_its_arms():
  training = Training(
    NAME, 'mlp_small', stream='random_labels', tasks=4, updates=7, batch_size=5
  )
  setup = wiring.set_up(training, data.load(NAME), [0])
  assert setup.context.steps_per_epoch == setup.tasks.updates == 7
  assert setup.context.epochs == training.length == 4
  assert setup.trainer('adamw').feed is setup.tasks


def test_trainer_evaluates_where_the_arm_says():
  setup = wiring.set_up(Training(NAME, 'mlp'), data.load(NAME), [0])
  assert setup.trainer('sgd').eval_params is None
  expected = optimizers.ARMS['schedule_free'].eval_params
  assert setup.trainer('schedule_free').eval_params is expected
