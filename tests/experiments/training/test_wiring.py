"""The engine is set up for an arm with what the arm wants to know."""

import dataclasses

import optax

from experiments import data
from experiments import models
from experiments import optimizers
from experiments.training import wiring

SETTING = optimizers.Setting(steps_per_epoch=1, epochs=1, warmup_epochs=0)


def test_arms_know_the_order_of_the_model():
  found = []

  def build(numbers, setting):
    found.append(setting.order)
    return optax.sgd(numbers['learning_rate'])

  arm = dataclasses.replace(optimizers.ARMS['sgd'], build=build)
  trainer = wiring.trainer(
    arm,
    SETTING,
    spec=data.spec('synthetic:4x4x1:3:20:10'),
    make_model=models.MODELS['mlp'].make,
    batch_size=12,
  )
  trainer.make_optimizer({})
  assert found[0][:3] == ('hidden1', 'hidden2', 'head')
