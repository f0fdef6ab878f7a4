"""One exported update serves parameters of any size."""

import chex
import jax
from jax import export
import jax.numpy as jnp
import numpy as np
import optax

from neuroplastic_optax import LearningRateController
from neuroplastic_optax import modulations
from neuroplastic_optax import neuroplastic_optimizer
from tests.settings import mostly_slow
from tests.settings import RULES

STACKED = dict(stacked_axes={'w': 1, 'b': 0})
SETTINGS = {
  **{
    name: dict(modulation=rule, base=optax.trace(0.9))
    for name, rule in RULES.items()
  },
  'published': {},
  'adam': dict(
    base=optax.scale_by_adam(), modulation=modulations.Momentum(strength=0.6)
  ),
  'gradient_only': dict(gradient_only=True, homeostasis=None),
  'one_alpha': dict(parameterwise=False, weight_decay=0.1),
  'decoupled': dict(weight_decay=0.1, decoupled_weight_decay=True),
  'bfloat16': dict(state_dtype='bfloat16'),
  'global': dict(diagnostics='global'),
  'per_leaf': dict(diagnostics='per_leaf'),
  'stacked': STACKED,
  'stacked_global': dict(diagnostics='global', **STACKED),
  'stacked_per_leaf': dict(diagnostics='per_leaf', **STACKED),
}


def _params(rows, columns):
  rng = np.random.default_rng(rows)
  draw = lambda *shape: jnp.asarray(rng.standard_normal(shape), 'float32')
  return {'w': draw(rows, columns, 2), 'b': draw(columns)}


@mostly_slow('settings', SETTINGS, 'published', 'stacked_global')
def test_an_update_of_symbolic_shapes(settings):
  tx = neuroplastic_optimizer(
    0.1, controller=LearningRateController(), **settings
  )
  rows, columns = export.symbolic_shape('rows, columns')
  symbolic = {
    'w': jax.ShapeDtypeStruct((rows, columns, 2), jnp.float32),
    'b': jax.ShapeDtypeStruct((columns,), jnp.float32),
  }
  state = jax.eval_shape(tx.init, symbolic)
  exported = export.export(jax.jit(tx.update))(symbolic, state, symbolic)
  for shape in ((3, 4), (1, 5)):
    params = _params(*shape)
    state = tx.init(params)
    chex.assert_trees_all_close(
      exported.call(params, state, params),
      tx.update(params, state, params),
      rtol=1e-5,
      atol=1e-6,
    )
