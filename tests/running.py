"""What tests do with an optimizer, whatever it is."""

import functools

import jax
import optax
import orbax.checkpoint as ocp


def run(tx, params, gradients):
  """The last updates and state, of a jitted run over all gradients."""
  state = tx.init(params)
  update = jax.jit(tx.update)
  for gradient in gradients:
    updates, state = update(gradient, state, params)
  return updates, state


@functools.cache
def _compiled_update(tx):
  return jax.jit(tx.update)


def all_updates(tx, params, gradients, compiled=False):
  """The updates for each of the gradients, and the last state."""
  # Operation by operation is faster: those of one test are compiled for all.
  update = _compiled_update(tx) if compiled else tx.update
  state, updates = tx.init(params), []
  for gradient in gradients:
    u, state = update(gradient, state, params)
    updates.append(u)
  return updates, state


def trained(tx, params, gradients, state=None, compiled=False):
  """Params and state after one update for each of the gradients."""

  def step(params, state, gradient):
    updates, state = tx.update(gradient, state, params)
    return optax.apply_updates(params, updates), state

  # Operation by operation is faster: those of one test are compiled for all.
  step = jax.jit(step) if compiled else step
  state = tx.init(params) if state is None else state
  for gradient in gradients:
    params, state = step(params, state, gradient)
  return params, state


def restored(path, held, abstract=None):
  """What Orbax restores of a tree that it has saved."""
  if abstract is None:
    abstract = jax.tree.map(ocp.utils.to_shape_dtype_struct, held)
  with ocp.StandardCheckpointer() as checkpointer:
    checkpointer.save(path, held)
    checkpointer.wait_until_finished()
    return checkpointer.restore(path, abstract)
