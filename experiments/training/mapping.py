"""Maps a function over trials: split over devices, some at once on each."""

from collections.abc import Callable
import functools
import math
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import AxisType
from jax.sharding import Mesh
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec
import numpy as np


def over_trials(
  function: Callable[..., Any], lanes: int | None
) -> Callable[..., Any]:
  """`function` of every trial.

  Args:
    function: of trees of one trial by position, and of what all trials share
      by keyword.
    lanes: how many trials run at once on a device; the others wait. None for
      all.

  Returns:
    The same of trees with a leading axis of trials. Whatever the lanes and the
    devices, a trial comes out the same; to the last bit unless the lanes
    change.
  """

  def on_device(args: Any, shared: Any) -> Any:
    count = _count(args)
    at_once = min(count, lanes or count)

    def one(xs: Any) -> Any:
      # Nothing inside is moved out of the loop, or fused with what is there,
      # so that a trial comes out the same to the last bit however many others
      # a device has.
      xs, others = jax.lax.optimization_barrier((xs, shared))
      return jax.lax.optimization_barrier(function(*xs, **others))

    # Not a vmap over one trial: batched products of matrices are slower.
    return jax.lax.map(one, args, batch_size=None if at_once == 1 else at_once)

  def mapped(*args: Any, **shared: Any) -> Any:
    mesh = _mesh(_count(args))
    if mesh is None:
      return on_device(args, shared)
    return _split(on_device, mesh)(args, shared)

  return mapped


def _count(args: Any) -> int:
  """How many trials there are."""
  return len(jax.tree.leaves(args)[0])


def _devices(count: int) -> int:
  """As few devices as take no longer than all of them would.

  Of several processes, every one has to take part.
  """
  devices = jax.device_count()
  if jax.process_count() > 1:
    return devices
  return math.ceil(count / math.ceil(count / devices))


def _mesh(count: int) -> Mesh | None:
  """The devices that so many trials are split over; None for one alone."""
  devices = _devices(count)
  if devices == 1:
    return None
  return jax.make_mesh(
    (devices,),
    ('trial',),
    axis_types=(AxisType.Auto,),
    devices=jax.devices()[:devices],
  )


def replicate(tree: Any, count: int) -> Any:
  """Replicates arrays, which all processes have alike, once for all calls.

  They are then on every device that has some of the `count` trials.
  """
  return _place(tree, _mesh(count), PartitionSpec())


def shard(tree: Any, count: int) -> Any:
  """Splits arrays with a leading axis of `count` trials over their devices.

  All processes have them alike; the results of `over_trials` are placed so.
  """
  mesh = _mesh(count)
  even = mesh is not None and count % mesh.size == 0
  return _place(tree, mesh, PartitionSpec('trial') if even else PartitionSpec())


def _place(tree: Any, mesh: Mesh | None, spec: PartitionSpec) -> Any:
  if mesh is None:
    return jax.tree.map(jnp.asarray, tree)
  # Several processes put host arrays; what is on a device is of one alone.
  return jax.device_put(
    jax.tree.map(np.asarray, tree), NamedSharding(mesh, spec)
  )


def _split(
  on_device: Callable[[Any, Any], Any], mesh: Mesh
) -> Callable[[Any, Any], Any]:
  """Has each device of the mesh map its share of the trials."""
  split, whole = PartitionSpec('trial'), PartitionSpec()
  on_devices = jax.shard_map(
    on_device,
    mesh=mesh,
    in_specs=(split, whole),
    out_specs=split,
    # What is replicated inside is not to be proved: nothing is reduced.
    check_vma=False,
  )
  return functools.partial(_even, on_devices, mesh)


def _even(
  on_devices: Callable[[Any, Any], Any], mesh: Mesh, args: Any, shared: Any
) -> Any:
  """Every device gets as many trials as the others.

  Where they do not divide evenly, some are trained twice. The state between
  epochs is then replicated.
  """
  count = _count(args)
  if count % mesh.size == 0:
    return on_devices(args, shared)
  padded = math.ceil(count / mesh.size) * mesh.size
  args = jax.tree.map(lambda x: x[jnp.arange(padded) % count], args)
  return jax.lax.with_sharding_constraint(
    jax.tree.map(lambda x: x[:count], on_devices(args, shared)),
    NamedSharding(mesh, PartitionSpec()),
  )
