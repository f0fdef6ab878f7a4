"""Reports of streams agree with the tables that they are made from."""

import re
import statistics

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from experiments.reporting import figures
from experiments.reporting.tables import TABLES
from experiments.studies import loading
from experiments.studies import scores
from tests.experiments.reporting import directories
from tests.experiments.reporting.directories import drawn
from tests.experiments.reporting.directories import some
from tests.experiments.reporting.directories import table

SMALL = {
  'source': 'streams',
  'conditions': ['split'],
  'arms': ['sgd', 'adamw'],
}


@pytest.fixture(scope='module')
def whole(tmp_path_factory):
  """A study in which much went wrong: its tables, and it loaded."""
  path = tmp_path_factory.mktemp('whole') / 'study'

  def change(tables):
    for name, rows in tables.items():
      if name != 'trials':
        tuned = (rows['condition'] == 'split') & (rows['ruleset'] == 'tuned')
        tables[name] = rows[~tuned]

  tables = directories.write(
    path,
    **directories.STREAMS,
    diverged=['sgd'],
    missing=['upgd'],
    change=change,
  )
  return tables, loading.load(path)


def test_measures_are_means_over_the_seeds_that_stayed_finite(whole):
  tables, study = whole
  rows = table(study, 'streams')
  assert len(rows) == 12
  for row in rows.itertuples():
    identity = [getattr(row, name) for name in scores.IDENTITY]
    own = some(tables['streams'], *identity, status='finished')
    values = own.pivot(index='seed', columns='measure', values='value')
    count = {'sgd': 0, 'upgd': 2}.get(row.arm, 4)
    assert (row.seeds, row.seeds_planned) == (count, 4)
    assert row.seeds_diverged == 4 * (row.arm == 'sgd')
    if not count:
      assert np.isnan([row.online_accuracy, row.plasticity_sd]).all()
      continue
    for name in ('online_accuracy', 'plasticity', 'dead_units'):
      mean, sd = statistics.mean(values[name]), statistics.stdev(values[name])
      assert getattr(row, name) == pytest.approx(mean)
      assert getattr(row, f'{name}_sd') == pytest.approx(sd)
    last, first = (
      values[f'online_accuracy_{which}_tenth'] for which in ('last', 'first')
    )
    assert row.online_accuracy_change == pytest.approx((last - first).mean())
    assert row.online_accuracy_change_sd == pytest.approx((last - first).std())
    tasks = {'permuted_labels': 60, 'split': 5}[row.condition]
    end = some(tables['measures'], *identity, task=tasks, measure='weight_norm')
    assert row.weight_norm_at_end == pytest.approx(end['mean'].item())


def test_only_splits_forget(whole):
  tables, study = whole
  rows = table(study, 'forgetting')
  assert {*rows['condition']} == {'split'}
  for _, group in rows.groupby('ruleset'):
    # The best is first, and what has no number last.
    assert group['arm'].iloc[-1] == 'sgd'
    there = group['average_accuracy'].dropna()
    assert there.is_monotonic_decreasing
    assert len(there) == 3
  for row in rows[rows['arm'] != 'sgd'].itertuples():
    own = some(tables['results'], 'split', row.ruleset, row.arm)
    mean = own['test_accuracy'].mean()
    # streams.csv has six digits.
    assert row.average_accuracy == pytest.approx(mean, rel=1e-5)
    assert row.forgetting > 0 > row.backward_transfer


def test_what_is_compared_has_its_name(whole):
  _, study = whole
  texts = {
    name: made.markdown()
    for name in TABLES
    if (made := TABLES[name](study)) is not None
  }
  texts['notes'] = ' '.join(
    figures.words(each.note, study)
    for each in figures.KINDS.values()
    if any(each.draw(study))
  )
  for name, text in texts.items():
    assert not re.search('(test|validation) accuracy', text), name
  summary = texts['summary']
  assert '# Accuracy\n' in summary
  assert '## permuted_labels, tuned, online accuracy' in summary
  assert '## split, default, average accuracy' in summary
  assert 'Online accuracy: that of all tasks of a stream' in summary
  assert 'to target' not in summary
  measured = table(study, 'summary').groupby('condition')['measure'].unique()
  assert measured['permuted_labels'].tolist() == ['online accuracy']
  assert measured['split'].tolist() == ['average accuracy']
  assert 'by the online accuracy' in texts['tuned']
  conditions = texts['conditions']
  assert '| stream | tasks |' in conditions
  assert 'held out' not in conditions
  for kind, condition, label in (
    ('learning_rates', 'permuted_labels', 'online accuracy (%)'),
    ('learning_rates', 'split', 'average accuracy (%)'),
    ('tuning', 'permuted_labels', 'best online accuracy (%)'),
  ):
    assert drawn(study, kind, condition).axes[0].get_ylabel() == label


def test_streams_stand_beside_conditions_of_epochs(tmp_path):
  study = directories.small(
    tmp_path,
    source='recommended',
    conditions=['mnist', 'permuted_labels'],
    arms=['full', 'adamw'],
  )
  text = TABLES['summary'](study).markdown()
  assert '## mnist, stable, test accuracy' in text
  assert 'Test accuracy: the accuracy on the test set' in text
  assert 'Times are medians until the validation accuracy' in text
  text = TABLES['conditions'](study).markdown()
  assert 'held out' in text
  assert '| – | 60 |' not in text
  assert 'mnist' not in TABLES['streams'](study).markdown()
  for condition, label in (('mnist', 'epoch'), ('permuted_labels', 'task')):
    figure = drawn(study, 'alpha', condition, 'mean')
    assert figure.axes[0].get_xlabel() == label


def test_pictures_without_sense_are_left_out(whole):
  _, study = whole
  parts = {
    name: [each.parts for each in kind.draw(study)]
    for name, kind in figures.KINDS.items()
  }
  assert {name for name, found in parts.items() if found} == {
    *('tasks', 'matrices', 'first_task', 'forest', 'profile'),
    *('learning_rates', 'tuning'),
  }
  assert parts['matrices'] == [('split', 'default')]
  # Nobody looks for curves over epochs.
  assert figures.words(figures.KINDS['curves'].absent, study) == ''
  assert figures.words(figures.KINDS['conditions'].absent, study)


def test_errors_are_compared_with_the_best(whole):
  tables, study = whole
  rows = table(study, 'errors').set_index('arm')
  # Only the default ruleset has several streams.
  assert {*rows['ruleset']} == {'default'}
  assert len(rows) == 4
  own = tables['results'].query('ruleset == "default"')
  own = own[own['status'] != 'missing']
  accuracy = own['test_accuracy'].mask(own['status'] == 'diverged', 0.1)
  error = (
    1 - accuracy.groupby([own['arm'], own['condition']]).median().unstack()
  )
  ratios = (error / error.min()).loc[rows.index]
  np.testing.assert_allclose(rows['largest_ratio'], ratios.max(axis=1))
  expected = ((4 - ratios).clip(lower=0) / 3).mean(axis=1)
  np.testing.assert_allclose(rows['score'], expected)
  (axes,) = drawn(study, 'profile', 'default').axes
  assert axes.get_title('left') == 'by error, 2 conditions'
  note = figures.words(figures.KINDS['profile'].note, study)
  assert 'the error of an arm' in note
  assert 'reaches the target' not in note


def test_lines_go_through_the_means_with_their_intervals(whole):
  tables, study = whole
  figure = drawn(study, 'tasks', 'permuted_labels', 'default')
  identity = ('permuted_labels', 'default', 'full')
  rows = some(tables['measures'], *identity, measure='effective_rank')
  reach = stats.t.ppf(0.975, 3) * rows['sd'] / np.sqrt(4)
  (axes,) = (
    each for each in figure.axes[:5] if each.get_ylabel() == 'effective rank'
  )
  (line,) = (x for x in axes.lines if x.get_label() == 'full')
  np.testing.assert_allclose(line.get_ydata(), rows['mean'])
  # Those of NeuroPlastic and its variants; full is the first.
  edges = axes.collections[0].get_paths()[0].get_extents()
  assert edges.ymax == pytest.approx(max(rows['mean'] + reach))
  assert edges.ymin == pytest.approx(min(rows['mean'] - reach))


def test_diverged_arms_have_a_name_and_no_line(whole):
  _, study = whole
  for kind in ('tasks', 'matrices', 'first_task'):
    figure = drawn(study, kind, 'split', 'default')
    texts = figure.findobj(lambda each: hasattr(each, 'get_text'))
    assert 'sgd ×' in {each.get_text() for each in texts}, kind
  figure = drawn(study, 'tasks', 'split', 'default')
  assert not [
    x for axes in figure.axes for x in axes.lines if x.get_label() == 'sgd'
  ]
  # Two seeds have a line, and nothing is filled around it.
  (axes,) = (x for x in figure.axes if x.get_title('left').startswith('mech'))
  assert any(x.get_label() == 'upgd' for x in axes.lines)
  assert not any(len(x.get_paths()) for x in axes.collections)
  text = TABLES['streams'](study).markdown()
  assert '0 of 4, 4 diverged |' in text
  assert '2 of 4 |' in text


def test_where_everything_diverged_nothing_is_drawn(tmp_path):
  study = directories.small(tmp_path, **SMALL, diverged=SMALL['arms'])
  for kind in ('tasks', 'matrices', 'first_task'):
    assert not list(figures.KINDS[kind].draw(study))
    assert 'no seed stayed finite' in figures.words(
      figures.KINDS[kind].absent, study
    )
  text = TABLES['forgetting'](study).markdown()
  assert text.count('0 of 4, 4 diverged') == 4


def test_splits_are_drawn_at_every_evaluation(whole):
  tables, study = whole
  rows = some(tables['evaluations'], 'split', 'default', 'adamw')
  figure = drawn(study, 'matrices', 'split', 'default')
  (axes,) = (x for x in figure.axes if x.get_title('left') == 'adamw')
  shown = axes.collections[0].get_array().reshape(5, 5)
  ends = rows[rows['update'] == rows['update'].max()]
  assert len(ends) == 25
  for row in ends.itertuples():
    cell = shown[row.task - 1, row.evaluated_task - 1]
    assert cell == pytest.approx(100 * row.mean)
  figure = drawn(study, 'first_task', 'split', 'default')
  (line,) = (
    x for axes in figure.axes for x in axes.lines if x.get_label() == 'adamw'
  )
  own = rows[rows['evaluated_task'] == 1]
  x, y = line.get_data()
  updates = rows['update'].max()
  np.testing.assert_allclose(x, own['task'] - 1 + own['update'] / updates)
  np.testing.assert_allclose(y, 100 * own['mean'])


def test_a_line_far_from_all_others_does_not_flatten_them(tmp_path):
  def change(tables):
    rows = tables['measures']
    far = (rows['arm'] == 'sgdm') & (rows['measure'] == 'weight_norm')
    rows.loc[far, 'mean'] = 1e9

  study = directories.small(
    tmp_path, source='streams', conditions=['permuted_labels'],
    arms=['full', 'sgd', 'sgdm', 'adam', 'adamw'], change=change,
  )  # fmt: skip
  figure = drawn(study, 'tasks', 'permuted_labels', 'default')
  norms = [x for x in figure.axes if x.get_ylabel() == '‖w‖']
  assert all(x.get_ylim()[1] < 1000 for x in norms)
  # An arrow says where it is.
  assert [x for axes in norms for x in axes.lines if x.get_marker() == '^']


@pytest.mark.parametrize(
  ('name', 'kinds', 'tables'),
  [
    ('streams', set(), {'streams', 'forgetting'}),
    ('measures', {'tasks'}, set()),
    ('evaluations', {'matrices', 'first_task'}, set()),
  ],
)
def test_what_is_not_there_is_left_out(tmp_path, name, kinds, tables):
  given = {'streams', 'measures', 'evaluations', 'comparisons'} - {name}
  study = directories.small(tmp_path, **SMALL, tables=given)
  drawn_of = lambda kind: list(figures.KINDS[kind].draw(study))
  streamed = ('tasks', 'matrices', 'first_task')
  assert {x for x in streamed if not drawn_of(x)} == kinds
  made = ('streams', 'forgetting')
  assert {x for x in made if TABLES[x](study) is None} == tables


def test_inactive_weights_have_a_line_for_each_layer(tmp_path):
  def change(tables):
    rows = tables['measures']
    own = rows[(rows['measure'] == 'dead_units') & (rows['arm'] == 'sgd')]
    layers = [
      own.assign(measure=f'inactive_{leaf}')
      for leaf in ('a/kernel', 'b/kernel')
    ]
    tables['measures'] = pd.concat([rows, *layers], ignore_index=True)

  tables = directories.write(tmp_path / 'study', **SMALL, change=change)
  figure = drawn(loading.load(tmp_path / 'study'), 'inactive', 'split', 'tuned')
  (axes,) = figure.axes
  assert axes.get_title(loc='left') == 'sgd'
  lines = {x.get_label(): x.get_xydata() for x in axes.lines}
  assert {*lines} == {'a/kernel', 'b/kernel'}
  own = some(
    tables['measures'], *('split', 'tuned', 'sgd'), measure='inactive_a/kernel'
  )
  expected = np.transpose([own['task'], 100 * own['mean']])
  np.testing.assert_allclose(lines['a/kernel'], expected)


def test_a_grid_of_two_hyperparameters_is_a_heat_map_alone(tmp_path):
  grid = [
    f'mnist_rate_{rate}_warmup_2_kappa_{kappa}'
    for rate in ('0.03', '0.1', '0.3')
    for kappa in ('0.5', '1', '2')
  ]
  tables = directories.write(
    tmp_path / 'study', source='mnist', conditions=grid, arms=['full']
  )
  figure = drawn(
    loading.load(tmp_path / 'study'), 'sensitivity', 'full', 'mnist'
  )
  axes, _ = figure.axes
  assert axes.get_xlabel() == 'learning_rate'
  assert axes.get_ylabel() == 'plasticity_scale'
  means = tables['results'].groupby('condition')['test_accuracy'].mean()
  shown = {x.get_position(): float(x.get_text()) for x in axes.texts}
  for i, name in enumerate(grid):
    place = i // 3 + 0.5, i % 3 + 0.5
    assert shown[place] == pytest.approx(100 * means[name], abs=0.051)


def test_points_of_a_grid_have_no_picture_of_tasks(tmp_path):
  def change(tables):
    for name, rows in tables.items():
      if name != 'trials':
        tables[name] = rows[rows['ruleset'] == 'tuned']

  conditions = ['permuted_labels_decay', 'permuted_labels']
  own = {**SMALL, 'conditions': conditions, 'arms': ['sgd']}
  study = directories.small(tmp_path, **own, change=change)
  drawings = lambda: len([*figures.KINDS['tasks'].draw(study)])
  assert drawings() == 2
  # The same task with two other hyperparameters.
  defined = study.study['definition']['conditions']
  for i, name in enumerate(conditions):
    defined[name]['numbers'] = {'weight_decay': i, 'learning_rate': 0.1}
  assert drawings() == 0
