"""Prepares JAX, before anything imports it, and Hypothesis."""

import os

import hypothesis

# The tests of sharding want eight devices, and the host can pretend to have
# them; how many there are is fixed when JAX starts.
_DEVICES = '--xla_force_host_platform_device_count'
if _DEVICES not in os.environ.get('XLA_FLAGS', ''):
  os.environ['XLA_FLAGS'] = (
    os.environ.get('XLA_FLAGS', '') + f' {_DEVICES}=8'
  ).strip()

# Where libtpu is installed, JAX would look for a TPU, and complain of none.
os.environ.setdefault('JAX_PLATFORMS', 'cpu')

# A failure in CI must be one that everybody can repeat. Compilation makes
# single examples slow, so they have no deadline; to look further than CI does,
# run with --hypothesis-profile=explore.
hypothesis.settings.register_profile(
  'repeatable',
  derandomize=True,
  deadline=None,
  max_examples=20,
  suppress_health_check=[hypothesis.HealthCheck.too_slow],
)
hypothesis.settings.register_profile(
  'explore',
  deadline=None,
  max_examples=500,
  database=None,
  suppress_health_check=[hypothesis.HealthCheck.too_slow],
)
hypothesis.settings.load_profile('repeatable')
