"""Interrupted at any moment, a run ends as if it had never been."""

import re
import shutil
import signal
from typing import Any

import pytest

from tests.experiments import outcomes
from tests.experiments import program
from tests.experiments.program import Moment
from tests.experiments.program import TINY
from tests.experiments.program import WORKDIR

pytestmark = pytest.mark.slow


def test_signal_saves_and_the_same_command_resumes(finished, folder):
  flags = (*TINY, WORKDIR, '--config.checkpoint_every=3')
  # When the metrics of the first epoch are written.
  at = Moment('os.rename', '.results.json.tmp', 2), signal.SIGHUP
  result = program.run(folder, *flags, at=at)
  assert (result.code, result.stderr) == (
    128 + signal.SIGHUP,
    'stopped and saved: sgd, after epoch 1 of 3. Run the same command to '
    'resume.\n',
  )
  mine = folder / 'my run'
  stopped = outcomes.of(mine)
  assert stopped['sgd'][0] == 3
  assert stopped['results.json']['sgd']['epoch'] == 1
  assert stopped['results.json']['sgd']['status'] == 'running'
  again = program.run(folder, *flags)
  assert (again.code, again.stderr) == (0, '')
  assert 'sgd: resumes after epoch 1 of 3' in again.stdout
  assert outcomes.of(mine) == outcomes.of(finished[0])


def test_signal_before_the_first_update_ends_the_run_at_once(folder):
  at = Moment('os.rename', '.results.json.tmp', 1), signal.SIGTERM
  result = program.run(folder, *TINY, WORKDIR, at=at)
  assert (result.code, result.stderr) == (-signal.SIGTERM, '')


def test_damaged_checkpoint_is_named_and_the_end_is_the_same(finished, folder):
  mine = folder / 'my run'
  shutil.copytree(finished[0], mine)
  (path,) = (mine / 'checkpoints' / 'adam' / '9' / 'state' / 'd').iterdir()
  path.write_bytes(path.read_bytes()[:-3])
  result = program.run(folder, *TINY, WORKDIR)
  assert (result.code, result.stderr) == (0, '')
  assert re.search(
    r'adam: checkpoint 9 cannot be restored \(.*\), so checkpoint 6 is used',
    result.stdout,
  )
  assert 'adam: resumes after epoch 2 of 3' in result.stdout
  assert outcomes.of(mine) == outcomes.of(finished[0])


def test_run_without_a_readable_checkpoint_is_refused_unchanged(
  finished, folder, monkeypatch
):
  mine = folder / 'my run'
  shutil.copytree(finished[0], mine)
  for number in ('6', '9'):
    shutil.rmtree(mine / 'checkpoints' / 'sgd' / number / 'history')
  before = program.contents(mine)
  monkeypatch.chdir(folder)
  result = program.inside('train', *TINY, WORKDIR)
  assert (result.code, 'restored' in result.stdout) == (1, False)
  assert result.stderr.startswith('error: cannot read any checkpoint in ')
  assert '--overwrite' in result.stderr
  assert result.stderr.count('\n') == 1
  after = program.contents(mine)
  assert after.pop('provenance.json') != before.pop('provenance.json')
  assert after == before


@pytest.mark.slow
def test_full_disk_exits_with_one_line(finished, folder):
  """A limit on the size of files is a disk that any user can fill."""
  flags = (*TINY, WORKDIR, '--config.arms=sgd')
  assert program.run(folder, *flags).code == 0
  result = program.run(folder, *flags, file_size=15_000)
  assert (result.code, result.stderr) == (
    1,
    'error: cannot write my run/curves.png: File too large.\n',
  )
  assert not [*(folder / 'my run').rglob('*tmp*')]
  again = program.run(folder, *flags)
  assert (again.code, again.stderr) == (0, '')


# One after another, each where the last one left off. Of two arms and three
# epochs: whatever is written has a moment at which it is half done.
KILLED = (*TINY, '--config.arms=full,sgd')
MOMENTS = (
  Moment('open', '.config.json.tmp'),
  Moment('os.rename', '.results.json.tmp'),
  # In the middle of the first checkpoint.
  Moment('open', '.orbax-checkpoint-tmp/_METADATA'),
  Moment('os.rename', 'state.orbax-checkpoint-tmp'),
  # It is whole, but not in its place.
  Moment('os.rename', 'full/3.orbax-checkpoint-tmp'),
  # It is in its place, but the metrics are not. The first are those of before.
  Moment('open', '.metrics.csv.tmp', 2),
  Moment('os.rename', '.metrics.jsonl.tmp', 2),
  # An old checkpoint is half deleted.
  Moment('os.remove', 'manifest.ocdbt'),
  Moment('os.rename', 'sgd/6.orbax-checkpoint-tmp'),
  Moment('os.rename', '.results.json.tmp', 4),
  Moment('open', '.curves.png.tmp'),
)


@pytest.mark.slow
def test_killed_at_many_moments_it_ends_with_the_same_numbers(folder):
  options: dict[str, Any] = {'optimized': True}
  whole = program.run(folder, *KILLED, '--workdir=whole', **options)
  assert (whole.code, whole.stderr) == (0, '')
  mine, seen = folder / 'my run', []
  for moment in MOMENTS:
    at = moment, signal.SIGKILL
    killed = program.run(folder, *KILLED, WORKDIR, at=at, **options)
    assert killed.code == -signal.SIGKILL, moment
    seen.append(killed.stdout)
    for name in ('metrics.csv', 'results.json'):
      # What is there is whole at every moment.
      if (mine / name).exists():
        assert (mine / name).read_text().endswith('\n')
  for arm in ('full', 'sgd'):
    assert any(f'{arm}: resumes after epoch 1' in text for text in seen)
  # Once from outside, at no moment in particular.
  with program.started(folder, *KILLED, WORKDIR, **options) as process:
    process.wait_until(lambda: 'sgd: ' in process.stdout)
    process.send(signal.SIGKILL)
    assert process.wait().code in (-signal.SIGKILL, 0)
  last = program.run(folder, *KILLED, WORKDIR, **options)
  assert (last.code, last.stderr) == (0, '')
  assert outcomes.of(mine) == outcomes.of(folder / 'whole')
  names = {path.name for path in (folder / 'whole').iterdir()}
  assert {path.name for path in mine.iterdir()} == names


def test_killed_while_it_overwrites_nothing_of_the_old_run_stays(
  finished, folder
):
  mine = folder / 'my run'
  shutil.copytree(finished[0], mine)
  (mine / 'notes.txt').write_text('precious')
  other = (*TINY, WORKDIR, '--config.seed=5', '--config.arms=sgd')
  at = Moment('os.remove', 'manifest.ocdbt'), signal.SIGKILL
  killed = program.run(folder, *other, '--overwrite', at=at)
  assert killed.code == -signal.SIGKILL
  again = program.run(folder, *other)
  assert (again.code, again.stderr) == (0, '')
  assert {row['arm'] for row in outcomes.rows(mine / 'metrics.csv')} == {'sgd'}
  assert {row['seed'] for row in outcomes.rows(mine / 'metrics.csv')} == {
    *('5', '6')
  }
  assert [p.name for p in (mine / 'checkpoints').iterdir()] == ['sgd']
  assert (mine / 'notes.txt').read_text() == 'precious'


def _job(folder, *flags, at=None):
  """Two processes of two devices each; `at` is the first one's."""
  flags = (
    *(*flags, '--num_processes=2'),
    f'--coordinator_address=localhost:{program.free_port()}',
  )
  options: dict[str, Any] = {'devices': 2, 'optimized': True}
  with (
    program.started(folder, *flags, '--process_id=0', at=at, **options) as one,
    program.started(folder, *flags, '--process_id=1', **options) as other,
  ):
    return one.wait(), other.wait()


@pytest.mark.slow
def test_two_processes_end_as_one_does_also_when_one_was_killed(folder):
  # Of three replicas on four devices; the arm is one with diagnostics.
  flags = (*TINY, '--config.arms=gradient_only', '--config.seeds=3')
  options: dict[str, Any] = {'optimized': True}
  assert program.run(folder, *flags, '--workdir=one', **options).code == 0
  flags = (*flags, '--workdir=two')
  at = Moment('os.rename', '6.orbax-checkpoint-tmp'), signal.SIGKILL
  killed, left = _job(folder, *flags, at=at)
  assert killed.code == -signal.SIGKILL
  # It may notice by itself, or be ended by JAX.
  assert left.code not in (0, None)
  assert 'epoch' not in left.stdout
  first, second = _job(folder, *flags)
  assert (first.code, second.code) == (0, 0), first.stderr + second.stderr
  assert 'gradient_only: resumes after epoch 1' in first.stdout
  assert 'epoch' not in second.stdout
  assert outcomes.of(folder / 'two') == outcomes.of(folder / 'one')
  # A directory that is refused ends both.
  first, second = _job(folder, *flags, '--config.seed=7')
  assert (first.code, second.code) == (1, 1)
  assert 'another run (seed: 0 there, 7 here)' in first.stderr
  assert 'the first process could not go on' in second.stderr
