"""What tests do with an optimizer, whatever it is."""

import jax


def run(tx, params, gradients):
  """The last updates and state, of a jitted run over all gradients."""
  state = tx.init(params)
  update = jax.jit(tx.update)
  for gradient in gradients:
    updates, state = update(gradient, state, params)
  return updates, state
