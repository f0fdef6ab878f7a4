"""Where randomness comes from: streams of keys, all derived from a seed."""

import jax

# A number must not change, or be used for something else.
INIT, ORDER, DROPOUT, AUGMENT, SUBSET, NOISE, CHANGE, EVALUATED = range(8)


def key(seed: jax.typing.ArrayLike, stream: int) -> jax.Array:
  """The key of one stream of a seed; each has draws of its own."""
  return jax.random.fold_in(jax.random.key(seed), stream)
