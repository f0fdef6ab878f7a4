"""Compiles the training step for a TPU slice, without a TPU.

  python -m experiments.aot --topology=v5e:4x4
  python -m experiments.aot --topology=v5e:2x2 --config.model=resnet18

The compiler for TPUs comes in the wheel `libtpu`: `pip install -e '.[tpu]'`. It
tells what a step needs of each device, before a slice is rented: memory, bytes
accessed, floating-point operations, and how often the devices have to talk, for
NeuroPlastic and its rivals side by side; of the whole training step and of the
optimizer's update alone.

The batch is split over all devices. So are the parameters (FSDP), and with them
the gradients and the optimizer's state, of tensors that are worth it:
`--config.min_size_to_shard`.
"""

from collections.abc import Callable, Mapping, Sequence
import dataclasses
import importlib.util
import json
import math
import os
from pathlib import Path
import re
import sys
import time
from typing import Any

from absl import app
from absl import flags
from flax import nnx
import jax
from jax.experimental import topologies
import jax.numpy as jnp
from jax.sharding import Mesh
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec
from ml_collections import config_flags
import optax
from rich.table import Table

from experiments import datasets
from experiments import engine
from experiments import models
from experiments import optimizers
from experiments import run_directory
from experiments import settings as settings_lib
from experiments import terminal
from experiments import workloads
from experiments.configs import aot as aot_config

AXIS = 'data'
# Instructions of XLA, and how the table calls them.
COLLECTIVES = {
  'all-reduce': 'AR',
  'all-gather': 'AG',
  'reduce-scatter': 'RS',
  'all-to-all': 'A2A',
  'collective-permute': 'CP',
}
# What the published models see; of CIFAR-10, augmentation included.
_IMAGES = {
  'mlp': 'synthetic:28x28x1:10:60000:1000',
  'cnn': 'synthetic:28x28x1:10:60000:1000',
  'resnet18': 'synthetic:32x32x3:10:50000:1000',
}
_STACKS = ('stack', 'stack1b')
MODELS = (*_IMAGES, *_STACKS)


class AotError(Exception):
  """What cannot be compiled here, in a sentence."""


@dataclasses.dataclass
class Report:
  """What one compiled program needs; bytes are of each device.

  Attributes:
    model: the model.
    arm: the optimizer.
    program: 'training step', or 'update' for the optimizer's alone.
    parameters: how many the model has.
    argument_bytes: of what goes in: state and batch.
    temporary_bytes: of what lives only during the step.
    peak_bytes: of both, and of results that take no argument's place.
    bytes_accessed: as XLA counts them.
    flops: likewise.
    collectives: by kind, how many instructions of the compiled program.
    compile_seconds: tracing and compilation.
  """

  model: str
  arm: str
  program: str
  parameters: int
  argument_bytes: int
  temporary_bytes: int
  peak_bytes: int
  bytes_accessed: float
  flops: float
  collectives: dict[str, int]
  compile_seconds: float


@dataclasses.dataclass(frozen=True)
class _Problem:
  """A training step: `step(state, *inputs)`, both as shapes and dtypes."""

  step: Callable[..., Any]
  state: engine.TrainState
  inputs: tuple[Any, ...]
  optimizer: optax.GradientTransformation
  stacked_axes: Callable[[Any, Any], int] | None


def mesh_of(topology: str) -> Mesh:
  """All devices of a TPU slice, in a row.

  Raises:
    AotError: libtpu is missing, or it knows no such slice.
  """
  if not topology:
    raise AotError('--topology must name a TPU slice, such as v5e:2x2.')
  if importlib.util.find_spec('libtpu') is None:
    raise AotError(
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
    raise AotError(
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
    first = 0
    if stacked_axes is not None and leaf.ndim:
      first = stacked_axes(path, leaf)
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


def _spread(tree: Any, mesh: Mesh, *names: str) -> Any:
  """Shapes, all placed alike."""
  sharding = NamedSharding(mesh, PartitionSpec(*names))
  return jax.tree.map(
    lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding), tree
  )


def _setting(stacked_axes: Any = None) -> optimizers.Setting:
  return dataclasses.replace(optimizers.PUBLISHED, stacked_axes=stacked_axes)


def _image_problem(
  model: str, arm: str, batch_size: int, mesh: Mesh
) -> _Problem:
  """The step of `experiments.train`, its batch split over the devices."""
  dataset = datasets.load(_IMAGES[model])
  if model == 'resnet18':
    dataset = dataclasses.replace(dataset, augment=True)
  build = optimizers.ARMS[arm].build
  trainer = engine.Trainer(
    dataset=dataset,
    make_model=models.MODELS[model],
    make_optimizer=lambda learning_rate: build(learning_rate, _setting()),
    batch_size=batch_size,
  )

  replicas = engine.make_replicas(dataset, [0])
  first = lambda tree: jax.tree.map(lambda x: x[0], tree)
  state, replica = jax.eval_shape(
    lambda: (first(trainer.init(replicas)), first(replicas))
  )
  pixels = jax.eval_shape(lambda: engine.to_device(dataset))
  batch = jax.ShapeDtypeStruct((batch_size * mesh.size,), jnp.int32)

  def step(state: Any, batch: Any, replica: Any, pixels: Any) -> Any:
    return trainer.step(state, batch, replica=replica, pixels=pixels)

  return _Problem(
    step,
    state,
    (
      _spread(batch, mesh, AXIS),
      _spread(replica, mesh),
      _spread(pixels, mesh),
    ),
    build(0.1, _setting()),
    None,
  )


def _stack_problem(
  model: str, arm: str, batch_size: int, length: int, mesh: Mesh
) -> _Problem:
  """Next-token prediction by a transformer of scanned layers."""
  workload = workloads.WORKLOADS[model]
  optimizer = optimizers.ARMS[arm].build(0.1, _setting(workload.stacked_axes))
  graphdef, _ = nnx.split(
    nnx.eval_shape(lambda: workload.make(nnx.Rngs(0))), nnx.Param
  )
  params = workload.params()
  state = jax.eval_shape(
    lambda params: engine.TrainState(
      jnp.zeros([], jnp.int32), params, {}, optimizer.init(params)
    ),
    params,
  )

  def step(state: engine.TrainState, tokens: jax.Array) -> Any:
    def loss_fn(params: Any) -> jax.Array:
      net: Any = nnx.merge(graphdef, params, copy=True)
      logits = net(tokens[:, :-1])
      return jnp.mean(
        optax.softmax_cross_entropy_with_integer_labels(logits, tokens[:, 1:])
      )

    loss, gradient = jax.value_and_grad(loss_fn)(state.params)
    updates, opt_state = optimizer.update(
      gradient, state.opt_state, state.params
    )
    params = optax.apply_updates(state.params, updates)
    return engine.TrainState(state.step + 1, params, {}, opt_state), loss

  tokens = jax.ShapeDtypeStruct((batch_size * mesh.size, length + 1), jnp.int32)
  return _Problem(
    step,
    state,
    (_spread(tokens, mesh, AXIS),),
    optimizer,
    workload.stacked_axes,
  )


def reports(
  model: str, arm: str, config: Mapping[str, Any], mesh: Mesh
) -> list[Report]:
  """Compiles the training step of a model, and its update alone.

  Raises:
    AotError: one does not fit into the memory of a device.
  """
  batch_size = config['batch_size']
  if model in _STACKS:
    length = config['sequence_length']
    problem = _stack_problem(model, arm, batch_size, length, mesh)
  else:
    problem = _image_problem(model, arm, batch_size, mesh)
  min_size = config['min_size_to_shard']
  state = fsdp(problem.state, mesh, min_size, problem.stacked_axes)
  placed = jax.tree.map(lambda x: x.sharding, state)

  def update(params: Any, opt_state: Any, gradient: Any) -> Any:
    updates, opt_state = problem.optimizer.update(gradient, opt_state, params)
    return optax.apply_updates(params, updates), opt_state

  programs = {
    'training step': jax.jit(
      problem.step, donate_argnums=0, out_shardings=(placed, None)
    ).trace(state, *problem.inputs),
    'update': jax.jit(
      update,
      donate_argnums=(0, 1),
      out_shardings=(placed.params, placed.opt_state),
    ).trace(state.params, state.opt_state, state.params),
  }
  found = []
  for name, traced in programs.items():
    start = time.perf_counter()
    lowered = traced.lower(lowering_platforms=('tpu',))
    try:
      compiled = lowered.compile()
    except jax.errors.JaxRuntimeError as e:
      if 'RESOURCE_EXHAUSTED' not in str(e):
        raise
      reason = str(e).splitlines()[0].partition(': ')[2].rstrip('.')
      raise AotError(
        f'the {name} of {model} with {arm} does not fit ({reason}). Take a '
        'larger --topology, or a smaller --config.batch_size or '
        '--config.min_size_to_shard.'
      ) from e
    seconds = time.perf_counter() - start
    memory, cost = compiled.memory_analysis(), compiled.cost_analysis()
    found.append(
      Report(
        model=model,
        arm=arm,
        program=name,
        parameters=workloads.count(state.params),
        argument_bytes=memory.argument_size_in_bytes,
        temporary_bytes=memory.temp_size_in_bytes,
        peak_bytes=(
          memory.argument_size_in_bytes
          + memory.temp_size_in_bytes
          + memory.output_size_in_bytes
          - memory.alias_size_in_bytes
        ),
        bytes_accessed=cost['bytes accessed'],
        flops=cost['flops'],
        collectives=count_collectives(compiled.as_text()),
        compile_seconds=seconds,
      )
    )
  return found


def count_collectives(program: str) -> dict[str, int]:
  """How many instructions of each kind the text of a program has."""
  return {
    kind: len(re.findall(rf'[\s)]{kind}(?:-start)?\(', program))
    for kind in COLLECTIVES
  }


def _table(title: str, rows: Sequence[Report]) -> Table:
  table = Table(
    title=title,
    caption='collectives: '
    + ', '.join(f'{short} {kind}' for kind, short in COLLECTIVES.items()),
  )
  for heading in ('model', 'program', 'optimizer'):
    table.add_column(heading, no_wrap=True)
  for heading in ('arguments', 'temporaries', 'peak', 'accessed', '÷ AdamW'):
    table.add_column(heading, justify='right', no_wrap=True)
  table.add_column('collectives', no_wrap=True)
  reference = {
    (row.model, row.program): row for row in rows if row.arm == 'adamw'
  }
  for row in rows:
    other = reference.get((row.model, row.program))
    table.add_row(
      f'{row.model}, {row.parameters / 1e6:.1f} M',
      row.program,
      row.arm,
      *(
        f'{count / 2**20:.1f} MiB'
        for count in (
          row.argument_bytes,
          row.temporary_bytes,
          row.peak_bytes,
          row.bytes_accessed,
        )
      ),
      f'{row.bytes_accessed / other.bytes_accessed:.2f}' if other else '–',
      ', '.join(
        f'{n} {COLLECTIVES[kind]}' for kind, n in row.collectives.items() if n
      )
      or 'none',
    )
  return table


def _check(config: Mapping[str, Any]) -> tuple[list[str], list[str]]:
  """The models and the arms that are asked for."""
  settings_lib.refuse_unknown(config, aot_config.get_config())
  chosen = {}
  for field, known in dict(model=MODELS, arms=tuple(optimizers.ARMS)).items():
    chosen[field] = settings_lib.names(field, config[field])
    for name in chosen[field]:
      settings_lib.choice(field, name, known)
  for field in ('batch_size', 'sequence_length', 'min_size_to_shard'):
    settings_lib.integer(field, config[field], 1)
  return list(chosen['model']), list(chosen['arms'])


def define_flags() -> None:
  """Defines the flags: here, since a process may import several programs."""
  config_flags.DEFINE_config_file(
    'config',
    str(Path(__file__).with_name('configs') / 'aot.py'),
    'The configuration; override a field by --config.field=value.',
    # Unknown fields are refused in a sentence.
    lock_config=False,
    accept_new_attributes=True,
  )
  flags.DEFINE_string(
    'topology',
    'v5e:4x4',
    'The TPU slice: its generation, and its shape in chips.',
  )
  flags.DEFINE_string('workdir', None, 'Where aot.json goes, if it is wanted.')


def main(argv: Sequence[str]) -> None:
  """The program."""
  if len(argv) > 1:
    sys.exit(f'error: unexpected arguments: {" ".join(argv[1:])}')
  # Whatever this machine has, it is not what is compiled for.
  jax.config.update('jax_platforms', 'cpu')
  config = flags.FLAGS.config
  try:
    chosen, arms = _check(config)
    mesh = mesh_of(flags.FLAGS.topology)
  except (ValueError, AotError) as e:
    sys.exit(f'error: {e}')
  console = terminal.wide_console()
  kind = mesh.devices.flat[0].device_kind
  console.print(
    f'{mesh.size} × {kind}; {config.batch_size} examples a device',
    soft_wrap=True,
  )
  rows = []
  for model in chosen:
    for arm in arms:
      try:
        new = reports(model, arm, config, mesh)
      except AotError as e:
        sys.exit(f'error: {e}')
      seconds = math.fsum(row.compile_seconds for row in new)
      console.print(f'{model}, {arm}: compiled in {seconds:.1f} s')
      rows += new
  order = {name: i for i, name in enumerate(chosen)}
  rows.sort(key=lambda row: (order[row.model], row.program))
  console.print(_table(f'{flags.FLAGS.topology}, of each device', rows))
  if flags.FLAGS.workdir:
    path = Path(flags.FLAGS.workdir) / 'aot.json'
    path.parent.mkdir(parents=True, exist_ok=True)
    known = [dataclasses.asdict(row) for row in rows]
    run_directory.write_text(path, json.dumps(known, indent=2) + '\n')
    console.print(f'aot.json is in {path.parent}')


if __name__ == '__main__':
  define_flags()
  app.run(main)
