"""A decoder-only transformer whose layers are scanned: large, compiled once.

All blocks are one module whose parameters have a leading axis of layers, as
large models in JAX are written. An optimizer that looks at whole tensors has to
be told that these are many: `stacked_axes`.
"""

from typing import Any

from flax import nnx
import jax
import jax.numpy as jnp

from experiments.models.model import ParameterTree
from experiments.models.model import STACKS

BLOCKS = 'blocks'


class Block(nnx.Module):
  """Pre-norm attention and a GELU feed-forward, both residual; no biases."""

  def __init__(self, width: int, heads: int, *, rngs: nnx.Rngs):
    dense = lambda i, o: nnx.Linear(i, o, use_bias=False, rngs=rngs)
    self.heads = heads
    self.norm1 = nnx.RMSNorm(width, rngs=rngs)
    self.qkv = dense(width, 3 * width)
    self.out = dense(width, width)
    self.norm2 = nnx.RMSNorm(width, rngs=rngs)
    self.up = dense(width, 4 * width)
    self.down = dense(4 * width, width)

  def __call__(self, x: jax.Array) -> jax.Array:
    """The residual stream [b, s, width] to the same."""
    q, k, v = jnp.split(self.qkv(self.norm1(x)), 3, axis=-1)
    split = lambda y: y.reshape(*y.shape[:-1], self.heads, -1)
    attended = jax.nn.dot_product_attention(
      split(q), split(k), split(v), is_causal=True
    )
    x = x + self.out(attended.reshape(x.shape))
    return x + self.down(nnx.gelu(self.up(self.norm2(x))))


class Transformer(nnx.Module):
  """Token ids [b, s] to logits [b, s, vocabulary]; the embedding is tied."""

  def __init__(
    self,
    vocabulary: int,
    width: int,
    layers: int,
    heads: int,
    *,
    rngs: nnx.Rngs,
  ):
    @nnx.split_rngs(splits=layers)
    @nnx.vmap(in_axes=(0,), out_axes=0)
    def stack(rngs: nnx.Rngs) -> Block:
      return Block(width, heads, rngs=rngs)

    self.embedding = nnx.Embed(vocabulary, width, rngs=rngs)
    self.blocks = stack(rngs)
    self.norm = nnx.RMSNorm(width, rngs=rngs)

  def __call__(self, tokens: jax.Array) -> jax.Array:
    """See the class."""

    # Only what flows from block to block is kept for the gradient.
    @nnx.scan(in_axes=(nnx.Carry, 0), out_axes=nnx.Carry)
    @nnx.remat
    def forward(x: jax.Array, block: Block) -> jax.Array:
      return block(x)

    x = forward(self.embedding(tokens), self.blocks)
    return self.embedding.attend(self.norm(x))


def stacked_axes(path: Any, leaf: Any) -> int:
  """For `stacked_axes=` of the library: the axis of layers of every block."""
  del leaf
  names = jax.tree_util.keystr(path, simple=True, separator='/').split('/')
  return int(BLOCKS in names)


def _stack(vocabulary: int, width: int, layers: int) -> ParameterTree:
  return ParameterTree(
    lambda rngs: Transformer(vocabulary, width, layers, width // 64, rngs=rngs),
    stacked_axes,
  )


# 33 million parameters, 10 layers in 6 of its 8 leaves.
STACKS['stack'] = _stack(vocabulary=3072, width=512, layers=10)
# 1.02 billion parameters.
STACKS['stack1b'] = _stack(vocabulary=32768, width=2048, layers=19)
