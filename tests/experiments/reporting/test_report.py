"""Reports agree with the tables that they are made from."""

import io
import json
import re
import statistics
from xml.etree import ElementTree

import numpy as np
from PIL import Image
import pytest
from scipy import stats

from experiments.reporting import figures
from experiments.reporting import report
from experiments.reporting import state
from experiments.reporting.tables import TABLES
from experiments.studies import catalogue
from experiments.studies import loading
from experiments.studies import scores
from tests.experiments import program
from tests.experiments.reporting import directories

pytestmark = pytest.mark.slow

MANY = catalogue.STUDIES['fashion_mnist'].arms[:26]
SVG = '{http://www.w3.org/2000/svg}'


def row_of(rows, *identity, **wanted):
  (row,) = directories.some(rows, *identity, **wanted).itertuples()
  return row


@pytest.fixture(scope='module')
def whole(tmp_path_factory):
  """A study in which much went wrong: its tables, it loaded, and its report."""
  path = tmp_path_factory.mktemp('whole') / 'study'
  tables = directories.write(path, diverged=['unit_mean'], missing=['sgdm'])
  study = loading.load(path)
  return tables, study, report.make(study)


def test_summary_is_that_of_the_results(whole):
  tables, study, _ = whole
  summary = directories.table(study, 'summary')
  assert len(summary) == len(summary.groupby(scores.IDENTITY)) == 16
  for row in summary.itertuples():
    identity = [getattr(row, name) for name in scores.IDENTITY]
    own = directories.some(tables['results'], *identity)
    there = own[own['status'] != 'missing']
    values = [
      0.1 if x.status == 'diverged' else x.test_accuracy
      for x in there.itertuples()
    ]
    assert (row.seeds, row.seeds_planned) == (len(values), len(own))
    assert row.seeds_diverged == 4 * (row.arm == 'unit_mean')
    mean, sd = statistics.mean(values), statistics.stdev(values)
    assert row.accuracy_percent == pytest.approx(100 * mean)
    assert row.sd_percent == pytest.approx(100 * sd, abs=1e-9)
  for _, group in summary.groupby(scores.IDENTITY[:2]):
    assert group['accuracy_percent'].is_monotonic_decreasing


def test_differences_are_paired_t_intervals(whole):
  tables, study, _ = whole
  group = {'condition': 'fashion_mnist_10', 'ruleset': 'tuned'}
  results = directories.some(tables['results'], **group)
  by_arm = results.pivot(index='seed', columns='arm', values='test_accuracy')
  expected = stats.ttest_rel(by_arm['full'], by_arm['adamw'])
  interval = expected.confidence_interval()
  summary = directories.table(study, 'summary')
  row = row_of(summary, **group, arm='full')
  assert row.p == pytest.approx(expected.pvalue)
  difference = (by_arm['full'] - by_arm['adamw']).mean()
  found = row.difference_points, row.ci_low_points, row.ci_high_points
  assert np.array(found) / 100 == pytest.approx([difference, *interval])
  reference = row_of(summary, **group, arm='adamw')
  assert np.isnan(reference.difference_points)


def test_ablation_compares_variants_with_the_whole_method(whole, tmp_path):
  tables, study, found = whole
  ablation = directories.table(study, 'ablation')
  assert {*ablation['reference']} == {'full'}
  # Other optimizers are no variants of the method.
  assert {*ablation['arm']} == {'unit_mean'}
  group = ('fashion_mnist_10', 'default')
  full = directories.some(tables['results'], *group, 'full')
  row = row_of(ablation, *group)
  expected = 100 * (0.1 - full['test_accuracy'].mean())
  assert row.mean_difference_points == pytest.approx(expected)
  # A number of seeds has no point.
  lines = found.files['tables/ablation.csv'].splitlines()
  assert lines[0].endswith(',seeds_needed')
  assert all(re.search(r',\d+$', line) for line in lines[1:])
  arms = ('gradient_only', 'unit_mean', 'adamw')
  without = directories.small(tmp_path, arms=arms)
  assert TABLES['ablation'](without) is None
  assert not list(figures.KINDS['ablation'].draw(without))


@pytest.mark.parametrize('arms', [('full', 'gradient_only'), ('full', 'sgd')])
def test_summary_without_adamw_compares_with_what_there_is(tmp_path, arms):
  text = TABLES['summary'](directories.small(tmp_path, arms=arms)).markdown()
  assert 'difference to adamw' not in text
  assert ('difference to gradient_only (points)' in text) == (
    'gradient_only' in arms
  )
  assert ('p (Holm)' in text) == ('gradient_only' in arms)


def test_stable_values_need_several_tuning_conditions(whole, tmp_path):
  stable = directories.table(whole[1], 'stable')
  assert {*stable['arm']} == {'full', 'unit_mean', 'sgdm', 'adamw'}
  assert (stable['stable'] == (stable['regret'] <= 0.002 + 1e-9)).all()
  assert stable['accuracy'].is_monotonic_decreasing

  def once(tables):
    trials = tables['trials']
    tables['trials'] = trials[trials['condition'] == 'fashion_mnist']

  assert TABLES['stable'](directories.small(tmp_path, change=once)) is None


def test_what_is_missing_or_diverged_is_told(whole):
  _, study, found = whole
  missing = directories.table(study, 'missing')
  assert {*missing['arm']} == {'sgdm'}
  assert {*missing['seeds']} == {2}
  assert {*missing['seeds_planned']} == {4}
  page = found.files['report.html']
  assert '8 of 64 reported trainings are missing' in page
  assert '2 of 4</td>' in page
  assert '2 of 4 |' in found.files['tables/summary.md']
  assert 'Trainings that diverged count as chance: unit_mean (16 of 16)' in page
  assert 'diverged: 10.00 ± 0.00' in page
  forest = found.files['figures/forest_fashion_mnist_10_adamw.svg']
  assert 'unit_mean' in forest
  assert re.search(r'−7\d\.\d\d', forest)


def test_extended_ranges_and_absent_tuning_are_told(tmp_path):
  path = tmp_path / 'x'
  directories.write(path, conditions=['fashion_mnist_10'])
  study = json.loads((path / 'study.json').read_text())
  study['tuning'] = {'whole': {'rates_added_below': 1, 'rates_added_above': 2}}
  for numbers, sentence in (
    ({'full': {}}, 'extended for all arms by 1 rate below and 2 rates above'),
    ({}, 'Tuned on whole: no arm has been tuned yet.'),
  ):
    study['tuning']['whole']['numbers'] = numbers
    (path / 'study.json').write_text(json.dumps(study))
    *_, last = state.sentences(loading.load(path))
    assert sentence in last


def test_pictures_are_there_as_svg_and_png(whole):
  *_, found = whole
  names = {x for x in found.files if x.startswith('figures/')}
  kinds = {kind for kind in figures.KINDS for x in names if f'/{kind}_' in x}
  assert kinds == {
    *('forest', 'curves', 'conditions', 'learning_rates', 'tuning'),
    *('profile', 'alpha'),
  }
  assert found.left_out.keys() == {'One change at a time'}
  assert '<dt>One change at a time</dt>' in found.files['report.html']
  for name in sorted(names):
    if name.endswith('.svg'):
      assert ElementTree.fromstring(found.files[name]).tag == f'{SVG}svg'
      with Image.open(io.BytesIO(found.files[name[:-3] + 'png'])) as image:
        assert np.asarray(image.convert('L')).std() > 3
      assert found.files['report.html'].count(f'id="{name[8:-4]}-title"') == 1


def test_curves_go_through_the_means(whole):
  tables, study, _ = whole
  group = ('fashion_mnist_10', 'default')
  means = directories.some(tables['curves'], *group, 'full')['mean']
  figure = directories.drawn(study, 'curves', *group)
  (line,) = (
    x for axes in figure.axes for x in axes.lines if x.get_label() == 'full'
  )
  np.testing.assert_allclose(line.get_ydata(), 100 * means)


def test_without_tables_their_pictures_are_left_out_with_a_reason(tmp_path):
  arms = ('adamw', 'sgd')
  study = directories.small(tmp_path, arms=arms, tables=(), seeds=2)
  drawn = ('forest', 'ablation', 'curves', 'learning_rates', 'tuning', 'alpha')
  for kind in map(figures.KINDS.get, drawn):
    assert not list(kind.draw(study))
    assert figures.words(kind.absent, study)
  for name in ('differences', 'ablation', 'stable', 'streams', 'forgetting'):
    assert TABLES[name](study) is None


@pytest.mark.slow
def test_reports_are_the_same_whenever_they_are_made(tmp_path):
  given = {'arms': ('adamw', 'full'), 'tables': ['comparisons']}
  study = directories.small(tmp_path, **given)
  again = directories.small(tmp_path / 'again', **given)
  assert report.make(study) == report.make(again)


def test_alpha_is_drawn_whatever_the_ruleset(tmp_path):
  def rename(tables):
    for each in tables.values():
      if 'ruleset' in each:
        each['ruleset'] = each['ruleset'].replace({'default': 'stable'})

  study = directories.small(tmp_path, change=rename)
  drawn = figures.KINDS['alpha'].draw(study)
  assert ('fashion_mnist_10', 'mean') in [each.parts for each in drawn]


def test_conditions_without_a_pair_of_seeds_have_no_forest(tmp_path):
  def unpaired(tables):
    rows = tables['comparisons']
    later = rows['condition'] == 'fashion_mnist_100'
    rows.loc[later, 'n'] = 0
    rows.loc[later, rows.columns[5:]] = None

  study = directories.small(tmp_path, change=unpaired)
  drawn = figures.KINDS['forest'].draw(study)
  assert [each.parts for each in drawn] == [('fashion_mnist_10', 'adamw')]


def test_a_picture_that_cannot_be_drawn_costs_nothing_else(
  tmp_path, monkeypatch
):
  def fail(*_):
    raise RuntimeError('no LaTeX')

  monkeypatch.setattr(figures.curves.lines, 'draw', fail)
  study = directories.small(tmp_path, arms=('adamw', 'sgd'), seeds=2)
  found = report.make(study)
  assert found.left_out['Learning curves'].endswith('RuntimeError: no LaTeX')
  assert 'RuntimeError: no LaTeX' in found.files['report.html']
  assert any(name.startswith('figures/forest') for name in found.files)
  assert 'tables/summary.md' in found.files


@pytest.mark.slow
def test_pictures_of_many_arms_are_small(tmp_path):
  many = dict(source='streams', conditions=['permuted_labels', 'split'])
  for name, given, limit in (
    ('x', {'arms': MANY, 'conditions': ['fashion_mnist_10']}, 150_000),
    ('y', {'arms': catalogue.STREAM_ARMS, **many}, 600_000),
  ):
    found = report.make(directories.small(tmp_path / name, **given)).files
    pictures = {x: c for x, c in found.items() if x.endswith('.svg')}
    assert max(map(len, pictures.values())) < limit
    for arm in given['arms']:
      assert any(f'>{arm}<' in content for content in pictures.values())


@pytest.mark.slow
@pytest.mark.parametrize('name', ['figures', 'report.html', None])
def test_what_cannot_be_written_exits_with_one_line(tmp_path, name):
  folder = tmp_path / 'run'
  directories.write(folder / 'study', arms=('sgd', 'adamw'), seeds=2, tables=())
  if name == 'figures':
    (folder / 'study' / name).touch()
  elif name:
    (folder / 'study' / name).mkdir()
  # A disk that takes no more.
  limit = None if name else 2000
  result = program.run(folder, 'study', name='report', file_size=limit)
  assert result.code == 1
  assert result.stderr.count('\n') == 1
  assert f'cannot write study/{name or ""}' in result.stderr
  assert not list(folder.rglob('.*'))
