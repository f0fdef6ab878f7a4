"""Schedules count updates, in integers."""

from fractions import Fraction

import hypothesis
from hypothesis import strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from neuroplastic_optax import schedules

LAST = np.iinfo(np.int32).max
KINDS = (
  *(np.float64, np.float16, np.int64, np.asarray),
  *(jnp.int32, jnp.float32, jnp.bfloat16),
)

steps = st.integers(1, 10_000)
epochs = st.integers(0, 1000)


def _gate(epoch, warmup_epochs):
  """clip((e - 1) / warmup_epochs, 0, 1), as published, for e = 1, 2, …."""
  if not warmup_epochs:
    return Fraction(1)
  return min(max(Fraction(epoch - 1, warmup_epochs), 0), 1)


@hypothesis.settings(max_examples=200)
@hypothesis.given(
  steps_per_epoch=steps,
  warmup_epochs=epochs,
  scale=st.just(0.0) | st.floats(1e-3, 100),
  data=st.data(),
)
def test_epoch_warmup_is_the_published_gate(
  steps_per_epoch, warmup_epochs, scale, data
):
  schedule = schedules.epoch_warmup(scale, warmup_epochs, steps_per_epoch)
  # Any count, above all where an epoch begins and the warm-up ends.
  boundary = data.draw(st.integers(0, warmup_epochs + 2)) * steps_per_epoch
  near = [boundary + offset for offset in (-1, 0, 1)]
  anywhere = data.draw(st.integers(0, LAST))
  for count in [*near, anywhere, 0, LAST]:
    if not 0 <= count <= LAST:
      continue
    epoch = count // steps_per_epoch + 1
    expected = scale * float(_gate(epoch, warmup_epochs))
    actual = schedule(jnp.asarray(count, jnp.int32))
    np.testing.assert_allclose(actual, expected, rtol=1e-6)
    # No rounding may keep the gate from opening, or open it early.
    if epoch == 1 and warmup_epochs:
      assert actual == 0
    if epoch > warmup_epochs:
      assert actual == np.float32(scale)


def test_counts_and_lengths_may_be_of_any_integer_kind():
  schedule = schedules.epoch_warmup(2.0, np.int64(2), np.int64(10))
  for count in (15, np.int64(15), np.asarray(15), jnp.uint8(15)):
    assert schedule(count) == 1.0
    assert jnp.shape(schedule(count)) == ()


def test_large_counts_are_not_rounded():
  # float32 cannot tell this count from the one before.
  steps_per_epoch = 2**24 + 1
  schedule = schedules.epoch_warmup(1.0, 1, steps_per_epoch)
  assert schedule(jnp.int32(steps_per_epoch - 1)) == 0.0
  assert schedule(jnp.int32(steps_per_epoch)) == 1.0


def test_the_scale_may_be_traced():
  kappa = lambda scale: schedules.epoch_warmup(scale, 2, 10)(15)
  scales = jnp.array([0.0, 1.0, 2.0])
  np.testing.assert_array_equal(jax.vmap(kappa)(scales), scales / 2)


@pytest.mark.parametrize('number', [2, 0.5], ids=['integer', 'real'])
@pytest.mark.parametrize('x64', [False, True])
def test_numbers_of_all_kinds_under_strict_promotion(number, x64):
  with jax.enable_x64(x64), jax.numpy_dtype_promotion('strict'):
    for make in (
      lambda value: schedules.epoch_warmup(value, 0, 10),
      lambda value: schedules.epoch_warmup(value, 3, 10),
      lambda value: schedules.late_ramp(value, 10, 5),
      lambda value: schedules.cosine_ramp(value, 10, 5),
      lambda value: schedules.phase(value, 'late', 10, 5),
    ):
      for kind in KINDS:
        value = kind(number)
        expected = make(float(value))(jnp.int32(45))
        actual = make(value)(jnp.int32(45))
        np.testing.assert_allclose(actual, expected, rtol=1e-3)
        assert jnp.issubdtype(actual.dtype, jnp.floating)
