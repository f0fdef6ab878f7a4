"""What the compiled training step needs of each device of a TPU slice.

The batch is split over all devices. So are the parameters (FSDP), and with them
the gradients and the optimizer's state, of tensors that are large enough.
"""

from collections.abc import Callable
import dataclasses
import importlib.util
import os
import re
import time
from typing import Any, NamedTuple

from flax import nnx
import jax
from jax.experimental import topologies
import jax.numpy as jnp
from jax.sharding import Mesh
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec
import optax

from experiments import data
from experiments import errors
from experiments import models
from experiments import optimizers
from experiments.configs.aot import Config
from experiments.configs.training import Training
from experiments.training import engine
from experiments.training import learning
from experiments.training import trials
from experiments.training import wiring
from experiments.training.feeds import Epochs

AXIS = 'data'
# Instructions of XLA, and how tables call them.
COLLECTIVES = {
  'all-reduce': 'AR',
  'all-gather': 'AG',
  'reduce-scatter': 'RS',
  'all-to-all': 'A2A',
  'collective-permute': 'CP',
}
_EXAMPLES = 60_000


class _Problem(NamedTuple):
  """A training step: `step(state, *inputs)`, both as shapes and dtypes."""

  step: Callable[..., Any]
  state: learning.TrainState
  inputs: tuple[Any, ...]
  optimizer: optax.GradientTransformation
  stacked_axes: Callable[[Any, Any], int] | None


def mesh_of(topology: str) -> Mesh:
  """All devices of a TPU slice, in a row.

  Raises:
    UserError: libtpu is missing, or it knows no such slice.
  """
  if not topology:
    raise errors.UserError('--topology must name a TPU slice, such as v5e:2x2.')
  if importlib.util.find_spec('libtpu') is None:
    raise errors.UserError(
      "compiling for TPUs needs libtpu: pip install -e '.[experiments,tpu]'."
    )
  # A machine without TPUs has no metadata server to ask, and no host names.
  os.environ.setdefault('TPU_SKIP_MDS_QUERY', '1')
  os.environ.setdefault('TPU_WORKER_HOSTNAMES', 'localhost')
  os.environ.setdefault('TPU_ACCELERATOR_TYPE', topology.replace(':', '-'))
  # No TPU is touched, so that several processes may compile at once.
  os.environ.setdefault('ALLOW_MULTIPLE_LIBTPU_LOAD', '1')
  try:
    found = topologies.get_topology_desc(topology, 'tpu')
  except Exception as e:
    raise errors.UserError(
      f'libtpu cannot compile for --topology={topology} ({e}). It is a TPU '
      'generation and a shape in chips, such as v5e:2x2, v5e:4x4 or v4:2x2x2.'
    ) from e
  return topologies.make_mesh(found, (len(found.devices),), (AXIS,))


def fsdp(tree: Any, mesh: Mesh, min_size: int, stacked_axes: Any = None) -> Any:
  """Shapes, each split over the mesh along its longest axis that divides.

  Leaves that none divides, and small ones, are replicated; an axis of layers is
  never split, since each device works on one layer at a time.
  """

  def place(path: Any, leaf: Any) -> jax.ShapeDtypeStruct:
    first = stacked_axes(path, leaf) if stacked_axes and leaf.ndim else 0
    fits = [
      axis
      for axis in range(first, leaf.ndim)
      if leaf.shape[axis] % mesh.size == 0 and leaf.size >= min_size
    ]
    names: list[str | None] = [None] * leaf.ndim
    if fits:
      names[max(fits, key=lambda axis: leaf.shape[axis])] = AXIS
    sharding = NamedSharding(mesh, PartitionSpec(*names))
    return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding)

  return jax.tree.map_with_path(place, tree)


def _placed(tree: Any, mesh: Mesh, *names: str) -> Any:
  """Shapes, all placed alike."""
  sharding = NamedSharding(mesh, PartitionSpec(*names))
  return jax.tree.map(
    lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding), tree
  )


def _image_problem(
  model: str, arm: str, config: Config, mesh: Mesh
) -> _Problem:
  """The step of `experiments.train`, its batch split over the devices."""
  chosen = models.MODELS[model]
  spec = data.Spec(
    'images',
    chosen.shape,
    mean=(0.5,) * chosen.shape[-1],
    std=(0.5,) * chosen.shape[-1],
    augment=chosen.augment,
  )
  shape: Any = jax.ShapeDtypeStruct
  trial = trials.Trial(
    seed=shape((), jnp.uint32),
    hyperparameters={optimizers.LEARNING_RATE: shape((), jnp.float32)},
    indices=shape((_EXAMPLES,), jnp.int32),
    labels=shape((_EXAMPLES,), jnp.int32),
  )
  training = Training(spec.name, model, batch_size=config.batch_size)
  context = optimizers.PUBLISHED
  trainer = wiring.Setup(training, spec, None, trial, context).trainer(arm)
  pixels = engine.Pixels(
    train_images=shape((_EXAMPLES, *spec.shape), jnp.uint8),
    test_images=shape((1000, *spec.shape), jnp.uint8),
    test_labels=shape((1000,), jnp.int32),
  )
  batch = shape((config.batch_size * mesh.size,), jnp.int32)

  def step(state: Any, batch: Any, trial: Any, pixels: Any) -> Any:
    chosen = Epochs(config.batch_size).of(batch, trial, pixels)
    return trainer.step(state, chosen, trial=trial).state

  return _Problem(
    step,
    jax.eval_shape(trainer.init_one, trial),
    (_placed(batch, mesh, AXIS), *_placed((trial, pixels), mesh)),
    optimizers.ARMS[arm].build(optimizers.ARMS[arm].values({}), context),
    None,
  )


def _stack_problem(
  model: str, arm: str, config: Config, mesh: Mesh
) -> _Problem:
  """Next-token prediction by a transformer of scanned layers."""
  tree, chosen = models.STACKS[model], optimizers.ARMS[arm]
  context = dataclasses.replace(
    optimizers.PUBLISHED, stacked_axes=tree.stacked_axes
  )
  optimizer = chosen.build(chosen.values({}), context)
  graphdef, _ = nnx.split(
    nnx.eval_shape(lambda: tree.make(nnx.Rngs(0))), nnx.Param
  )
  params = tree.params()
  state = jax.eval_shape(
    lambda params: learning.TrainState(
      step=jnp.zeros([], jnp.int32),
      params=params,
      batch_stats={},
      opt_state=optimizer.init(params),
      loss=jnp.zeros([], jnp.float32),
      correct=jnp.zeros([], jnp.int32),
    ),
    params,
  )

  def step(
    state: learning.TrainState, tokens: jax.Array
  ) -> learning.TrainState:
    def loss_fn(params: Any) -> tuple[jax.Array, None]:
      net: Any = nnx.merge(graphdef, params, copy=True)
      logits = net(tokens[:, :-1])
      losses = optax.softmax_cross_entropy_with_integer_labels(
        logits, tokens[:, 1:]
      )
      return jnp.mean(losses), None

    params, opt_state, loss, _ = learning.descend(
      loss_fn, optimizer, state.params, state.opt_state
    )
    return state._replace(
      step=state.step + 1,
      params=params,
      opt_state=opt_state,
      loss=state.loss + loss,
    )

  tokens = jax.ShapeDtypeStruct(
    (config.batch_size * mesh.size, config.sequence_length + 1), jnp.int32
  )
  inputs = (_placed(tokens, mesh, AXIS),)
  return _Problem(step, state, inputs, optimizer, tree.stacked_axes)


def reports(
  model: str, arm: str, config: Config, mesh: Mesh
) -> list[dict[str, Any]]:
  """Compiles the training step of a model, and its update alone.

  Returns:
    A row for the training step, and one for the update: `model`, `arm`,
    `program` and `parameters`, how many the model has; of each device
    `argument_bytes`, of state and batch, `temporary_bytes`, of what lives only
    during the step, and `peak_bytes`, of both and of results that take no
    argument's place; `bytes_accessed` and `flops` as XLA counts them;
    `collectives`, by kind, how many instructions of the compiled program;
    `compile_seconds`, of tracing and compilation.

  Raises:
    UserError: one does not fit into the memory of a device.
  """
  make = _stack_problem if model in models.STACKS else _image_problem
  problem = make(model, arm, config, mesh)
  state = fsdp(
    problem.state, mesh, config.min_size_to_shard, problem.stacked_axes
  )
  placed = jax.tree.map(lambda x: x.sharding, state)

  def update(params: Any, opt_state: Any, gradient: Any) -> Any:
    updates, opt_state = problem.optimizer.update(gradient, opt_state, params)
    return optax.apply_updates(params, updates), opt_state

  programs = {
    'training step': jax.jit(
      problem.step, donate_argnums=0, out_shardings=placed
    ).trace(state, *problem.inputs),
    'update': jax.jit(
      update,
      donate_argnums=(0, 1),
      out_shardings=(placed.params, placed.opt_state),
    ).trace(state.params, state.opt_state, state.params),
  }
  rows = []
  for name, traced in programs.items():
    try:
      needs = _compile(traced)
    except jax.errors.JaxRuntimeError as e:
      if 'RESOURCE_EXHAUSTED' not in str(e):
        raise
      reason = str(e).splitlines()[0].partition(': ')[2].rstrip('.')
      raise errors.UserError(
        f'the {name} of {model} with {arm} does not fit ({reason}). Take a '
        'larger --topology, or a smaller --config.batch_size or '
        '--config.min_size_to_shard.'
      ) from e
    rows.append(
      {
        'model': model,
        'arm': arm,
        'program': name,
        'parameters': models.count(state.params),
        **needs,
      }
    )
  return rows


def _compile(traced: Any) -> dict[str, Any]:
  """Compiles one program, and reads off what it needs."""
  start = time.perf_counter()
  compiled = traced.lower(lowering_platforms=('tpu',)).compile()
  seconds = time.perf_counter() - start
  memory, cost = compiled.memory_analysis(), compiled.cost_analysis()
  return {
    'argument_bytes': memory.argument_size_in_bytes,
    'temporary_bytes': memory.temp_size_in_bytes,
    'peak_bytes': (
      memory.argument_size_in_bytes
      + memory.temp_size_in_bytes
      + memory.output_size_in_bytes
      - memory.alias_size_in_bytes
    ),
    'bytes_accessed': cost['bytes accessed'],
    'flops': cost['flops'],
    'collectives': count_collectives(compiled.as_text()),
    'compile_seconds': seconds,
  }


def count_collectives(program: str) -> dict[str, int]:
  """How many instructions of each kind the text of a program has."""
  return {
    kind: len(re.findall(rf'[\s)]{kind}(?:-start)?\(', program))
    for kind in COLLECTIVES
  }
