"""A package is fetched once and whole; otherwise one sentence says why not."""

import pathlib
import signal
import subprocess
import sys
import textwrap
import time

import pytest

from experiments.data import npm
from experiments.data import originals
from tests.experiments.data import small

PACKAGE = npm.Package(
  'numbers',
  '1.2.3',
  originals.Files(('one', 'two.gz'), lambda paths: None),
  megabytes=4,
  folder='data/raw',
)
FILES = {
  'package.json': b'{}',
  'data/raw/one': b'1',
  'data/raw/two': b'2',
  'data/raw/three': b'3',
  'data/one': b'not this one',
  'data/raw/../../../../one': b'nor this one',
}


@pytest.fixture(name='cache', autouse=True)
def _cache(tmp_path, monkeypatch):
  monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'cache'))
  return tmp_path / 'cache' / 'neuroplastic_optax' / 'npm'


@pytest.fixture(name='install')
def _install(tmp_path, monkeypatch):
  """Installs a client that runs a script; `$0.tgz` is the package's archive."""

  def install(script='cp "$0.tgz" numbers-1.2.3.tgz', files=FILES, **options):
    notes = small.install_npm(monkeypatch, tmp_path / 'bin', script)
    small.pack(tmp_path / 'bin' / 'npm.tgz', files, **options)
    return notes

  return install


def test_it_is_fetched_once_and_only_what_is_wanted_is_kept(
  install, cache, capsys
):
  notes = install()
  folder = npm.fetch(PACKAGE)
  assert folder == cache / 'numbers-1.2.3'
  assert {p.name: p.read_bytes() for p in folder.iterdir()} == {
    'one': b'1',
    'two': b'2',
  }
  out = capsys.readouterr().out
  assert out == f'fetching numbers@1.2.3 (4 MB) with npm into {folder}\n'
  assert npm.fetch(PACKAGE) == folder
  assert capsys.readouterr().out == f'found numbers@1.2.3 in {folder}\n'
  (call,) = notes.read_text().splitlines()
  assert call.startswith('pack ')
  assert call.endswith(' numbers@1.2.3')
  assert [*cache.iterdir()] == [folder]


def test_a_package_that_lost_a_file_is_not_taken_for_whole(install, cache):
  install()
  (npm.fetch(PACKAGE) / 'two').unlink()
  with pytest.raises(
    npm.NpmError, match=f'{cache}/.* lost two.gz: delete this'
  ):
    npm.fetch(PACKAGE)


def test_the_root_of_a_package_may_have_any_name(install):
  install(root='numbers')
  assert (npm.fetch(PACKAGE) / 'one').read_bytes() == b'1'


def test_without_the_client_it_says_so(monkeypatch, tmp_path, cache):
  monkeypatch.setenv('PATH', str(tmp_path))
  with pytest.raises(
    npm.NpmError, match=r'numbers@1.2.3, and there is no `npm'
  ):
    npm.fetch(PACKAGE)
  assert not cache.exists()


@pytest.mark.parametrize(
  ('script', 'message'),
  [
    (
      'printf %s \'{"error": {"summary": "no such thing\\n at"}}\'; exit 1',
      'failed: no such thing',
    ),
    ('echo oh; echo no >&2; exit 3', 'failed: exit status 3'),
    ('echo "[]"; exit 3', 'failed: exit status 3'),
    ('true', 'failed: exit status 0'),
    ('head -c 100 "$0.tgz" > numbers.tgz', 'is no whole archive: '),
    ('echo hello > numbers.tgz', 'is no whole archive: '),
  ],
)
def test_what_goes_wrong_is_one_sentence(install, cache, script, message):
  install(script)
  with pytest.raises(npm.NpmError, match=message) as info:
    npm.fetch(PACKAGE)
  assert 'numbers@1.2.3' in str(info.value)
  assert '\n' not in str(info.value)
  assert not [*cache.iterdir()]


def test_a_package_without_a_wanted_file_is_refused(install, cache):
  install(files={name: x for name, x in FILES.items() if 'two' not in name})
  with pytest.raises(npm.NpmError, match=r'numbers@1.2.3 holds no two.gz$'):
    npm.fetch(PACKAGE)
  assert not [*cache.iterdir()]


def test_a_cache_that_cannot_be_written_is_named(install, cache):
  install()
  cache.parent.mkdir(parents=True)
  cache.write_text('')
  with pytest.raises(npm.NpmError, match=f'cannot fetch .* into {cache}/'):
    npm.fetch(PACKAGE)


def test_two_may_fetch_it_at_the_same_time(install, cache):
  install(
    f'mkdir "{cache}/numbers-1.2.3"; touch "{cache}/numbers-1.2.3/one"; '
    'cp "$0.tgz" numbers-1.2.3.tgz'
  )
  assert npm.fetch(PACKAGE) == cache / 'numbers-1.2.3'
  assert [path.name for path in cache.iterdir()] == ['numbers-1.2.3']


@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGKILL])
def test_an_interrupted_fetch_leaves_no_half_package(install, cache, number):
  notes = install('cp "$0.tgz" numbers-1.2.3.tgz; exec sleep 10')
  # A shell has what it runs in the background ignore SIGINT.
  code = """
    import signal
    signal.signal(signal.SIGINT, signal.default_int_handler)
    from tests.experiments.data import test_npm
    test_npm.npm.fetch(test_npm.PACKAGE)
  """
  process = subprocess.Popen(
    [sys.executable, '-c', textwrap.dedent(code)],
    cwd=pathlib.Path(__file__).parents[3],
    stderr=subprocess.DEVNULL,
    stdout=subprocess.DEVNULL,
  )
  while not notes.exists():
    assert process.poll() is None
    time.sleep(0.01)
  process.send_signal(number)
  assert process.wait(60) != 0
  assert not (cache / 'numbers-1.2.3').exists()
  if number == signal.SIGINT:
    assert not [*cache.iterdir()]
  install()
  assert (npm.fetch(PACKAGE) / 'one').read_bytes() == b'1'
