"""Prepares JAX and Matplotlib, before anything imports them, and Hypothesis."""

import atexit
import contextlib
import gc
import os
import shutil
import subprocess
import sys
import tempfile

import hypothesis
import pytest

# The tests of sharding want eight devices, and the host can pretend to have
# them; how many there are is fixed when JAX starts.
_DEVICES = '--xla_force_host_platform_device_count'
if _DEVICES not in os.environ.get('XLA_FLAGS', ''):
  os.environ['XLA_FLAGS'] = (
    os.environ.get('XLA_FLAGS', '') + f' {_DEVICES}=8'
  ).strip()

# Where libtpu is installed, JAX would look for a TPU, and complain of none.
os.environ.setdefault('JAX_PLATFORMS', 'cpu')

# Most of the time goes into compiling small programs: hurry the code generator,
# with those of these options that it knows. XLA's own passes are those of a
# user's. To have all of it as users do, give
# XLA_FLAGS=--xla_backend_optimization_level=3.
_QUICK = (
  '--xla_backend_optimization_level=0',
  '--xla_cpu_use_fusion_emitters=false',
  '--xla_llvm_disable_expensive_passes=true',
)


def _with(options):
  return ' '.join([os.environ['XLA_FLAGS'], *options])


def _known(options):
  """Whether XLA knows all of these options; it aborts at others."""
  return not subprocess.run(
    [sys.executable, '-c', 'import jax; jax.devices()'],
    env=os.environ | {'XLA_FLAGS': _with(options)},
    capture_output=True,
    check=False,
  ).returncode


if '--xla_backend_optimization_level' not in os.environ['XLA_FLAGS']:
  if not _known(_QUICK):
    _QUICK = [each for each in _QUICK if _known([each])]
  os.environ['XLA_FLAGS'] = _with(_QUICK)

# Where in Python an operation comes from, which nobody reads here.
os.environ['JAX_TRACEBACK_IN_LOCATIONS_LIMIT'] = '0'

# Matplotlib keeps a list of the fonts it has found. The user's may be missing,
# which it says where a test wants silence, or be of another installation; and
# a test that kills a program that is making the list would leave a broken one.
# So the tests have their own. Workers of pytest-xdist inherit it.
if 'PYTEST_XDIST_WORKER' not in os.environ:
  os.environ['MPLCONFIGDIR'] = tempfile.mkdtemp(prefix='matplotlib-')
  atexit.register(shutil.rmtree, os.environ['MPLCONFIGDIR'], True)
  subprocess.run(
    [sys.executable, '-c', 'import matplotlib.font_manager'],
    capture_output=True,
    check=False,
  )

# The same programs are compiled again and again, by tests and by the processes
# that they start. Each worker keeps its own, so that none reads what another
# has half written.
if 'PYTEST_XDIST_WORKER' not in os.environ:
  os.environ['_COMPILED_BY_TESTS'] = tempfile.mkdtemp(prefix='compiled-')
  atexit.register(shutil.rmtree, os.environ['_COMPILED_BY_TESTS'], True)
os.environ['JAX_COMPILATION_CACHE_DIR'] = os.path.join(
  os.environ['_COMPILED_BY_TESTS'],
  os.environ.get('PYTEST_XDIST_WORKER', 'alone'),
)
os.environ['JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS'] = '0.2'

# Compiling makes many objects that stay: to look for garbage less often saves a
# twentieth of the time.
gc.set_threshold(50_000, 20, 20)

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


_COMPILATION = '/jax/core/compile/backend_compile_duration'
_MOST_COMPILED = 4096


@contextlib.contextmanager
def _compilations():
  """Yields the names of the functions that are compiled from now on."""
  import jax  # Not above: what is above prepares it.

  names = []

  def listen(event, seconds, **named):
    if event == _COMPILATION:
      names.append(named['fun_name'])

  jax.monitoring.register_event_duration_secs_listener(listen)
  yield names
  jax.monitoring.unregister_event_duration_listener(listen)


@pytest.fixture
def compiled():
  """The names of the functions that XLA has compiled since the test began."""
  with _compilations() as names:
    yield names


@pytest.fixture(scope='session')
def _all_compiled():
  with _compilations() as names:
    yield names


@pytest.fixture(autouse=True)
def _no_full_cache(_all_compiled):
  """Empties JAX's caches before they are full.

  Once 8,192 signatures of functions that are alive fill the one of compiled
  functions, every new function is traced at every call: a test that comes late
  in its process may take eighty times as long as alone.
  """
  yield
  if len(_all_compiled) > _MOST_COMPILED:
    import jax

    jax.clear_caches()
    _all_compiled.clear()


@pytest.fixture(autouse=True)
def _own_numbers():
  """Gives a test the same random numbers whatever tests came before."""
  from tests import arrays  # Which imports JAX.

  arrays.begin()


# The library casts, and never relies on JAX to promote dtypes. The tests of
# these files, which do not either, find out.
_STRICT = {'diagnostics', 'dtypes', 'neuroplastic'}


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem):
  """Runs the tests of some files under strict promotion of dtypes."""
  if pyfuncitem.path.stem.removeprefix('test_') not in _STRICT:
    return None
  from tests import promotion

  names = pyfuncitem._fixtureinfo.argnames
  arguments = {name: pyfuncitem.funcargs[name] for name in names}
  promotion.strictly(lambda: pyfuncitem.obj(**arguments))
  return True
