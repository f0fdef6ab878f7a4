"""Reports agree with the tables that they are made from."""

import csv
import gzip
import io
import json
import re
import statistics
from xml.etree import ElementTree

import numpy as np
from PIL import Image
import pytest
from scipy import stats

from experiments import errors
from experiments.reporting import report
from experiments.reporting.page import state
from experiments.studies import catalogue
from experiments.studies import reading
from experiments.studies.declarations import Condition
from experiments.studies.declarations import Study
from experiments.studies.declarations import Task
from experiments.studies.declarations import Tuning
from tests.experiments.reporting import directories

ARMS = ('full', 'unit_mean', 'sgdm', 'adamw')
NASTY = '<script>alert(1)</script>"\'&|$x_{'
TASK = Task('fashion_mnist', 'mlp')


def small(arms=ARMS, **changes):
  """A study of two conditions."""
  return Study(
    'small',
    arms,
    tuple(
      Condition(
        f'data_{x}', Task('fashion_mnist', 'mlp', fraction=x), tuned_on='whole'
      )
      for x in (0.1, 1.0)
    ),
    **{'tuning': Tuning({'whole': TASK}, arms), 'seeds': 4, **changes},
  )


def made(path):
  return report.make(reading.read(path))


def table(found, name):
  return list(csv.DictReader(io.StringIO(found.files[f'tables/{name}.csv'])))


@pytest.fixture(scope='module')
def whole(tmp_path_factory):
  """The rows of a study in which much went wrong, and its report."""
  path = tmp_path_factory.mktemp('whole') / 'study'
  rows = directories.write(
    path, small(), diverged=('unit_mean',), missing=('sgdm',)
  )
  return path, rows, made(path)


def test_the_summary_is_that_of_the_results(whole):
  _, rows, found = whole
  summary = table(found, 'summary')
  assert len(summary) == 16
  for row in summary:
    key = ('condition', 'ruleset', 'arm')
    own = [x for x in rows if all(x[name] == row[name] for name in key)]
    values = [
      0.1 if x['status'] == 'diverged' else x['test_accuracy']
      for x in own
      if x['status'] != 'missing'
    ]
    assert int(row['seeds']) == len(values)
    assert int(row['seeds_planned']) == len(own) == 4
    lost = 4 * (row['arm'] == 'unit_mean')
    assert int(row['seeds_diverged']) == lost
    mean, sd = statistics.mean(values), statistics.stdev(values)
    assert float(row['accuracy_percent']) == pytest.approx(100 * mean)
    assert float(row['sd_percent']) == pytest.approx(100 * sd, abs=1e-9)


def test_differences_are_paired_t_intervals(whole):
  _, rows, found = whole
  by_arm = {}
  for row in rows:
    if (row['condition'], row['ruleset']) == ('data_0.1', 'tuned'):
      by_arm.setdefault(row['arm'], {})[row['seed']] = row['test_accuracy']
  own, reference = (
    np.array([by_arm[arm][seed] for seed in range(4)], float)
    for arm in ('full', 'adamw')
  )
  expected = stats.ttest_rel(own, reference)
  interval = expected.confidence_interval()
  for row in table(found, 'summary'):
    if (row['condition'], row['ruleset']) != ('data_0.1', 'tuned'):
      continue
    if row['arm'] == 'adamw':
      assert row['difference_points'] == 'nan'
    if row['arm'] == 'full':
      assert float(row['p']) == pytest.approx(expected.pvalue)
      for name, x in (
        ('difference_points', np.mean(own - reference)),
        ('ci_low_points', interval.low),
        ('ci_high_points', interval.high),
      ):
        assert float(row[name]) == pytest.approx(100 * x)


def test_the_ablation_compares_variants_with_the_whole(whole):
  _, rows, found = whole
  ablation = table(found, 'ablation')
  assert {row['reference'] for row in ablation} == {'full'}
  # Other optimizers are no variants of the method.
  assert {row['arm'] for row in ablation} == {'unit_mean'}
  full = [
    row['test_accuracy']
    for row in rows
    if (row['condition'], row['ruleset'], row['arm'])
    == ('data_1.0', 'default', 'full')
  ]
  (row,) = (
    row
    for row in ablation
    if (row['condition'], row['ruleset']) == ('data_1.0', 'default')
  )
  expected = 100 * (0.1 - statistics.mean(full))
  assert float(row['mean_difference_points']) == pytest.approx(expected)


def test_without_the_whole_method_nothing_is_ablated(tmp_path):
  arms = ('gradient_only', 'unit_mean', 'adamw')
  directories.write(tmp_path / 'study', small(arms))
  found = made(tmp_path / 'study')
  assert 'ablation' in {kind.name for kind in found.absent}
  assert 'tables/ablation.csv' not in found.files


def test_conditions_without_a_pair_have_no_forest(tmp_path):
  path = tmp_path / 'study'
  directories.write(path, small())
  file = path / 'comparisons.csv'
  head, *rows = file.read_text().splitlines()
  later = [
    ','.join([*row.split(',')[:4], '0', *[''] * 7])
    if row.startswith('data_1.0,')
    else row
    for row in rows
  ]
  file.write_text('\n'.join([head, *later]) + '\n')
  names = {x for x in made(path).files if x.endswith('.svg')}
  forests = {x for x in names if x.startswith('figures/forest_')}
  assert forests == {'figures/forest_data_0.1_adamw.svg'}


def test_values_are_stable_only_under_several_conditions(tmp_path, whole):
  assert 'tables/stable.csv' not in whole[2].files
  tasks = {'whole': TASK, 'part': Task('fashion_mnist', 'mlp', fraction=0.1)}
  study = small(tuning=Tuning(tasks, ARMS))
  directories.write(tmp_path / 'study', study)
  stable = table(made(tmp_path / 'study'), 'stable')
  assert {row['arm'] for row in stable} == set(ARMS)
  for row in stable:
    near = float(row['regret']) <= 0.002 + 1e-9
    assert (row['stable'] == 'True') == near


def test_an_incomplete_study_says_what_is_missing(whole):
  _, _, found = whole
  assert {
    (row['arm'], row['seeds'], row['seeds_planned'])
    for row in table(found, 'missing')
  } == {('sgdm', '2', '4')}
  page = found.files['report.html']
  assert '8 of 64 reported trainings are missing' in page
  assert '2 of 4</td>' in page
  assert '2 of 4 |' in found.files['tables/summary.md']


def test_a_diverged_arm_is_shown(whole):
  _, _, found = whole
  page = found.files['report.html']
  assert 'Trainings that diverged count as chance: unit_mean (16 of 16)' in page
  assert 'diverged: 10.00 ± 0.00' in page
  forest = found.files['figures/forest_data_0.1_adamw.svg']
  assert 'unit_mean' in forest
  assert re.search(r'−7\d\.\d\d', forest)


def test_ranges_that_were_extended_are_told(tmp_path):
  directories.write(tmp_path / 'x', small())
  path = tmp_path / 'x' / 'study.json'
  study = json.loads(path.read_text())
  study['tuning']['whole'] |= {'rates_added_below': 1, 'rates_added_above': 2}
  path.write_text(json.dumps(study))
  *_, told = state.sentences(reading.read(tmp_path / 'x'))
  assert 'extended for all arms by 1 rate below and 2 rates above' in told


def test_a_tuning_that_has_not_begun_is_told(tmp_path):
  directories.write(tmp_path / 'x', small())
  path = tmp_path / 'x' / 'study.json'
  study = json.loads(path.read_text())
  study['tuning']['whole']['numbers'] = {}
  path.write_text(json.dumps(study))
  *_, told = state.sentences(reading.read(tmp_path / 'x'))
  assert told == 'Tuned on whole: no arm has been tuned yet.'


def test_all_pictures_are_there_in_both_forms(whole):
  _, _, found = whole
  kinds = {
    name.split('/')[1]
    .split('_data')[0]
    .split('_whole')[0]
    .split('_fraction')[0]
    for name in found.files
    if name.startswith('figures/')
  }
  assert kinds >= {'forest', 'curves', 'conditions', 'learning_rates', 'tuning'}
  assert not found.absent or [x.name for x in found.absent] == ['ablation']
  for name, content in found.files.items():
    if name.endswith('.svg'):
      root = ElementTree.fromstring(content)
      assert root.tag == '{http://www.w3.org/2000/svg}svg'
      picture = found.files[name.replace('.svg', '.png')]
      with Image.open(io.BytesIO(picture)) as image:
        assert np.asarray(image.convert('L')).std() > 3
      assert found.files['report.html'].count(f'id="{name[8:-4]}-title"') == 1


def test_a_report_is_the_same_whenever_it_is_made(whole):
  path, _, found = whole
  assert made(path).files == found.files


@pytest.mark.parametrize('name', ['conditions.csv', 'trials.csv', 'curves.csv'])
def test_what_is_not_there_is_left_out_and_said(tmp_path, name):
  tables = {'trials.csv', 'comparisons.csv', 'curves.csv', 'alpha.csv'} - {name}
  directories.write(tmp_path / 'x', small(('adamw', 'sgd')), tables=tables)
  found = made(tmp_path / 'x')
  absent = {kind.name for kind in found.absent}
  assert (
    absent
    == {'ablation', 'alpha'}
    | {
      'conditions.csv': set(),
      'trials.csv': {'learning_rates', 'tuning'},
      'curves.csv': {'curves'},
    }[name]
  )
  page = found.files['report.html']
  for kind in found.absent:
    assert f'<dt>{kind.title}</dt>' in page


@pytest.mark.parametrize('rulesets', [('stable',), ('default', 'tuned')])
def test_α_is_drawn_whatever_the_ruleset(tmp_path, rulesets):
  conditions = (Condition('here', TASK, rulesets=rulesets, tuned_on='whole'),)
  study = Study('small', ARMS, conditions, seeds=2)
  directories.write(tmp_path / 'x', study)
  assert 'figures/alpha_here_mean.svg' in made(tmp_path / 'x').files


def test_empty_tables_are_as_good_as_none(tmp_path):
  directories.write(tmp_path / 'x', small(('adamw', 'sgd')))
  for name in ('trials.csv', 'curves.csv', 'alpha.csv', 'comparisons.csv'):
    (tmp_path / 'x' / name).write_text('')
  absent = {kind.name for kind in made(tmp_path / 'x').absent}
  assert absent == {
    *('forest', 'ablation', 'curves', 'learning_rates', 'tuning', 'alpha'),
  }


def test_names_are_only_names(tmp_path):
  """Whatever tables hold is shown, and is neither markup nor mathematics."""
  path = tmp_path / 'x'
  directories.write(path, small(('adamw', 'sgd')))
  for file in path.iterdir():
    text = file.read_text()
    quoted = NASTY.replace('"', '""')
    if file.suffix == '.json':
      text = text.replace('"sgd"', json.dumps(NASTY))
      text = text.replace('data_0.1', json.dumps(NASTY)[1:-1])
    else:
      text = text.replace('sgd', f'"{quoted}"')
      text = text.replace('data_0.1', f'"{quoted}"')
    file.write_text(text)
  found = made(path)
  page = found.files['report.html']
  assert page.count('<script') == 1
  assert '<th scope="row">&lt;script&gt;alert(1)&lt;/script&gt;' in page
  for name, content in found.files.items():
    assert re.fullmatch(r'[\w./-]+', name)
    if name.endswith('.svg'):
      texts = ElementTree.fromstring(content).itertext()
      assert '<script' not in content
      assert any(NASTY in text for text in texts)
    if name.endswith('summary.md'):
      assert r'| \<script\>alert(1)\</script\>"' in content
      # The pipe of the name does not end its cell.
      lines = [x for x in content.splitlines() if x.startswith('|')]
      assert {len(re.findall(r'(?<!\\)\|', x)) for x in lines} == {9}


@pytest.mark.slow
def test_a_large_study_has_small_pictures(tmp_path):
  study = catalogue.STUDIES['fashion_mnist']
  directories.write(tmp_path / 'x', study, diverged=('m_svag',))
  found = made(tmp_path / 'x')
  sizes = {
    name: len(x) for name, x in found.files.items() if name.endswith('.svg')
  }
  assert len(sizes) > 8
  assert max(sizes.values()) < 150_000
  forest = found.files['figures/forest_fashion_mnist_adamw.svg']
  for arm in study.arms:
    assert arm == 'adamw' or f'>{arm}<' in forest


def test_pictures_of_curves_hold_the_means(whole):
  """The line of an arm goes through its means, read off the axes."""
  path, _, found = whole
  rows = [
    row
    for row in directories.read(path / 'curves.csv')
    if (row['condition'], row['ruleset'], row['arm'])
    == ('data_0.1', 'default', 'full')
  ]
  root = ElementTree.fromstring(
    found.files['figures/curves_data_0.1_default.svg']
  )
  paths = [
    x
    for x in root.iter('{http://www.w3.org/2000/svg}path')
    if 'stroke:#0072b2' in x.get('style', '')
  ]
  numbers = re.findall(r'[ML](-?[\d.]+) (-?[\d.]+)', paths[0].get('d'))
  points = np.array(numbers, float)
  means = np.array([float(row['mean']) for row in rows])
  assert len(points) == len(means) == 10
  # Up is down in SVG: heights are a falling straight line of the means.
  fit = np.polyfit(means, points[:, 1], 1)
  assert fit[0] < 0
  np.testing.assert_allclose(np.polyval(fit, means), points[:, 1], atol=0.15)


def damage(name, change):
  def do(path):
    file = path / name
    file.write_text(change(file.read_text()))

  return do


def pack(name, change=lambda x: x):
  """Gzips a table, and changes what came of it."""

  def do(path):
    packed = change(gzip.compress((path / name).read_bytes()))
    (path / f'{name}.gz').write_bytes(packed)
    (path / name).unlink()

  return do


@pytest.mark.parametrize('name', ['curves.csv', 'alpha.csv', 'results.csv'])
def test_tables_may_be_gzipped(tmp_path, name):
  path = tmp_path / 'x'
  directories.write(path, small())
  plain = reading.read(path)
  pack(name)(path)
  assert reading.read(path) == plain


@pytest.mark.parametrize(
  ('change', 'words'),
  [
    (lambda path: (path / 'study.json').unlink(), 'is no study directory'),
    (damage('study.json', lambda x: x[:50]), 'cannot read .*study.json'),
    (damage('study.json', lambda x: x.replace('"chance"', '"luck"')),
     'what accuracy chance has'),
    (lambda path: (path / 'results.csv').unlink(),
     r'results\.csv is not there'),
    (damage('results.csv', lambda x: ''),
     r'results\.csv is not there or empty'),
    (damage('results.csv', lambda x: x.replace('data_1.0', 'other')),
     "the condition 'other'"),
    (damage('results.csv', lambda x: x.replace(',0.8', ',eight')),
     r'results\.csv is damaged.*not a number'),
    (damage('results.csv', lambda x: x.replace(',status', ',stat')),
     "results.*no column 'status'"),
    (damage('results.csv', lambda x: x[: len(x) // 2]),
     r'results\.csv is damaged'),
    (damage('comparisons.csv', lambda x: x.replace('sgdm', 'lion')),
     r"comparisons\.csv has the arm 'lion'.*another study"),
    (damage('comparisons.csv', lambda x: x.replace(',4,', ',four,')),
     r"comparisons\.csv is damaged: in line 2, n is 'four'"),
    (damage('curves.csv', lambda x: x.replace(',0.', ',7.', 1)),
     r'curves\.csv is damaged.*mean.*fraction from 0 to 1'),
    (damage('trials.csv', lambda x: x.replace('{', '[', 1)),
     r'trials\.csv is damaged.*hyperparameters.*JSON'),
    (damage('trials.csv', lambda x: x.replace('sgdm', 'lion')),
     r"trials\.csv has the arm 'lion'"),
    (damage('alpha.csv', lambda x: x.replace('head/bias', '\x01')),
     r'alpha\.csv is damaged.*leaf'),
    (damage('alpha.csv', lambda x: x + 'data_0.1,default\n'),
     r'alpha\.csv is damaged: line \d+ has not as many values'),
    (lambda path: (path / 'alpha.csv').write_bytes(b'\xff\xfe'),
     r'alpha\.csv is damaged'),
    (pack('alpha.csv', lambda x: x[:-9]), r'alpha\.csv\.gz is damaged'),
    (pack('alpha.csv', lambda x: x[20:]), r'alpha\.csv\.gz is damaged'),
    (pack('alpha.csv', lambda _: gzip.compress(bytes(2**26 + 1))),
     r'alpha\.csv\.gz is damaged .*more than 67,108,864 bytes'),
    (lambda path: (path / 'alpha.csv.gz').write_bytes(gzip.compress(b'')),
     r'alpha\.csv and .*alpha\.csv\.gz are both there'),
  ],
)  # fmt: skip
def test_what_is_damaged_or_foreign_is_named(tmp_path, change, words):
  path = tmp_path / 'x'
  directories.write(path, small())
  change(path)
  with pytest.raises(errors.StorageError, match=words) as caught:
    reading.read(path)
  assert '\n' not in str(caught.value)
