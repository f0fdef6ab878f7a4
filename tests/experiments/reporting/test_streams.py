"""Reports of streams agree with the tables that they are made from."""

import csv
import dataclasses
import io
import json
import re
import statistics
from xml.etree import ElementTree

import numpy as np
import pytest
from scipy import stats

from experiments import errors
from experiments.reporting import figures
from experiments.reporting import report
from experiments.reporting.plots import style
from experiments.studies import catalogue
from experiments.studies import reading
from experiments.studies.declarations import Condition
from experiments.studies.declarations import on_stream
from experiments.studies.declarations import Study
from experiments.studies.declarations import Task
from experiments.studies.declarations import Tuning
from experiments.studies.tuner import Budget
from tests.experiments.reporting import directories

ARMS = ('full', 'unit_mean', 'sgd', 'upgd', 'adamw')
NASTY = '<script>alert(1)</script>"\'&|$x_{'
LABELS = dataclasses.replace(
  on_stream('permuted_labels', 'fashion_mnist'), tasks=20
)
SPLIT = on_stream('split', 'mnist')
BUDGET = Budget(rates=3, trials=6, rounds=1)
DEFAULT = ('default',)
KEYS = ('condition', 'ruleset', 'arm')
STUDY = Study(
  'few',
  ARMS,
  (
    Condition('labels', LABELS, tuned_on='labels'),
    Condition('split', SPLIT, rulesets=DEFAULT),
  ),
  Tuning({'labels': LABELS, 'split': SPLIT}, ARMS, BUDGET),
  seeds=4,
)
SMALL = dataclasses.replace(
  STUDY,
  arms=('sgd', 'adamw'),
  conditions=STUDY.conditions[1:],
  tuning=None,
)


def made(path):
  return report.make(reading.read(path))


def table(found, name):
  return list(csv.DictReader(io.StringIO(found.files[f'tables/{name}.csv'])))


def drawn(path, kind, *parts):
  """A figure of a study, before it is written."""
  study = reading.read(path)
  (found,) = (x for x in figures.KINDS[kind].draw(study) if x.parts == parts)
  with style.settings(kind):
    return found.make()


@pytest.fixture(scope='module')
def whole(tmp_path_factory):
  """A study in which much went wrong: its path, results and report."""
  path = tmp_path_factory.mktemp('whole') / 'study'
  rows = directories.write(path, STUDY, diverged=('sgd',), missing=('upgd',))
  return path, rows, made(path)


def test_the_table_is_that_of_the_seeds(whole):
  path, results, found = whole
  rows = table(found, 'streams')
  assert len(rows) == 15
  seeds = directories.read(path / 'streams.csv')
  for row in rows:
    own = [x for x in seeds if all(x[name] == row[name] for name in KEYS)]
    values = {}
    for x in own:
      if x['status'] == 'finished':
        values.setdefault(x['measure'], []).append(float(x['value']))
    count = {'sgd': 0, 'upgd': 2}.get(row['arm'], 4)
    assert int(row['seeds']) == count
    assert int(row['seeds_planned']) == 4
    assert int(row['seeds_diverged']) == 4 * (row['arm'] == 'sgd')
    if not count:
      assert row['online_accuracy'] == row['plasticity_sd'] == 'nan'
      continue
    for name in ('online_accuracy', 'plasticity', 'dead_units'):
      assert float(row[name]) == pytest.approx(statistics.mean(values[name]))
      sd = statistics.stdev(values[name])
      assert float(row[f'{name}_sd']) == pytest.approx(sd)
    last, first = (
      np.array(values[f'online_accuracy_{x}_tenth']) for x in ('last', 'first')
    )
    change = row['online_accuracy_change'], row['online_accuracy_change_sd']
    assert np.array(change, float) == pytest.approx(
      [np.mean(last - first), np.std(last - first, ddof=1)]
    )
    if row['condition'] == 'labels':
      tested = [
        x['test_accuracy']
        for x in results
        if all(x[name] == row[name] for name in KEYS)
        and x['status'] == 'finished'
      ]
      mean = statistics.mean(tested)
      assert float(row['online_accuracy']) == pytest.approx(mean)


def test_the_norm_is_that_after_the_last_task(whole):
  path, _, found = whole
  last = {
    tuple(row[name] for name in KEYS): row['mean']
    for row in directories.read(path / 'measures.csv')
    if row['measure'] == 'weight_norm'
    and row['task'] == {'labels': '20', 'split': '5'}[row['condition']]
  }
  rows = table(found, 'streams')
  norms = {tuple(x[k] for k in KEYS): x['weight_norm_at_end'] for x in rows}
  assert last.items() <= norms.items()
  assert {norms[key] for key in norms.keys() - last.keys()} == {'nan'}


def test_only_splits_forget(whole):
  _, results, found = whole
  rows = table(found, 'forgetting')
  assert {row['condition'] for row in rows} == {'split'}
  # The best is first, and what has no number last.
  accuracies = [float(row['average_accuracy']) for row in rows]
  assert [row['arm'] for row in rows][-1] == 'sgd'
  assert accuracies[:-1] == sorted(accuracies[:-1], reverse=True)
  for row in rows[:-1]:
    tested = [
      x['test_accuracy']
      for x in results
      if (x['condition'], x['arm'], x['status'])
      == ('split', row['arm'], 'finished')
    ]
    mean = statistics.mean(tested)
    assert float(row['average_accuracy']) == pytest.approx(mean)
    assert float(row['forgetting']) > 0 > float(row['backward_transfer'])


def test_what_is_compared_has_its_name(whole):
  _, _, found = whole
  texts = [x for x in found.files.values() if isinstance(x, str)]
  assert not any(re.search('(test|validation) accuracy', x) for x in texts)
  summary = found.files['tables/summary.md']
  assert '# Accuracy\n' in summary
  assert '## labels, tuned, online accuracy' in summary
  assert '## split, default, average accuracy' in summary
  assert 'Online accuracy: that of all tasks of a stream' in summary
  assert 'to target' not in summary
  measured = {x['condition']: x['measure'] for x in table(found, 'summary')}
  assert measured == {'labels': 'online accuracy', 'split': 'average accuracy'}
  assert 'by the online accuracy' in found.files['tables/tuned.md']
  conditions = found.files['tables/conditions.md']
  assert '| stream | tasks |' in conditions
  assert 'held out' not in conditions
  for name, text in (
    ('learning_rates_labels', 'online accuracy (%)'),
    ('learning_rates_split', 'average accuracy (%)'),
    ('tuning_labels', 'best online accuracy (%)'),
    ('alpha_labels_mean', 'task'),
    ('alpha_split_bounds', 'last task'),
  ):
    assert f'>{text}</text>' in found.files[f'figures/{name}.svg']


def test_streams_among_other_conditions(tmp_path):
  task = Task('fashion_mnist', 'mlp')
  conditions = (Condition('plain', task), *STUDY.conditions[:1])
  study = Study('mixed', ('sgd', 'adamw'), conditions, Tuning({}, ()), seeds=3)
  directories.write(tmp_path / 'x', study)
  for name in ('summary', 'conditions', 'streams'):
    tables = report.tables.TABLES[name](reading.read(tmp_path / 'x'))
    text = tables.markdown()
    if name == 'summary':
      assert '## plain, tuned, test accuracy' in text
      assert 'Test accuracy: the accuracy on the test set' in text
      assert 'Times are medians until the validation accuracy' in text
    elif name == 'conditions':
      assert 'held out' in text
      assert '| – | 20 |' not in text
    else:
      assert 'plain' not in text


def test_pictures_that_have_no_sense_are_left_out(whole):
  _, _, found = whole
  absent = {kind.name: kind for kind in found.absent}
  # Nobody looks for curves over epochs.
  assert absent.keys() == {'conditions', 'ablation'}
  assert 'figures/curves' not in ' '.join(found.files)
  assert 'Learning curves' not in found.files['report.html']
  names = {x.partition('/')[2] for x in found.files if x.endswith('.svg')}
  assert names >= {
    *('tasks_labels_default.svg', 'tasks_labels_tuned.svg'),
    *('tasks_split_default.svg', 'matrices_split_default.svg'),
    *('first_task_split_default.svg', 'forest_labels_adamw.svg'),
    'profile_default.svg',
  }
  assert not any(x.startswith(('matrices_l', 'first_task_l')) for x in names)


def test_errors_are_compared_with_the_best(whole):
  _, results, found = whole
  rows = {row['arm']: row for row in table(found, 'errors')}
  # Only the default ruleset has several streams.
  assert {row['ruleset'] for row in rows.values()} == {'default'}
  assert rows.keys() == set(ARMS)
  ratios = {arm: [] for arm in ARMS}
  for condition in ('labels', 'split'):
    error = {}
    for arm in ARMS:
      accuracies = [
        0.1 if row['status'] == 'diverged' else row['test_accuracy']
        for row in results
        if tuple(row[name] for name in KEYS) == (condition, 'default', arm)
        and row['status'] != 'missing'
      ]
      error[arm] = 1 - statistics.median(accuracies)
    for arm in ARMS:
      ratios[arm].append(error[arm] / min(error.values()))
  for arm, row in rows.items():
    assert float(row['largest_ratio']) == pytest.approx(max(ratios[arm]))
    score = statistics.mean(max(0, 4 - x) / 3 for x in ratios[arm])
    assert float(row['score']) == pytest.approx(score)
  picture = found.files['figures/profile_default.svg']
  assert '>by error, 2 conditions<' in picture
  assert 'the error of an arm' in found.files['report.html']
  assert 'reaches the target' not in found.files['report.html']


def test_lines_go_through_the_means_with_their_intervals(whole):
  path, _, _ = whole
  figure = drawn(path, 'tasks', 'labels', 'default')
  rows = [
    row
    for row in directories.read(path / 'measures.csv')
    if tuple(row[name] for name in KEYS) == ('labels', 'default', 'full')
    and row['measure'] == 'effective_rank'
  ]
  mean, sd = (np.array([row[x] for row in rows], float) for x in ('mean', 'sd'))
  reach = stats.t.ppf(0.975, 3) * sd / np.sqrt(4)
  (axes,) = (
    each for each in figure.axes[:5] if each.get_ylabel() == 'effective rank'
  )
  (line,) = (x for x in axes.lines if x.get_label() == 'full')
  np.testing.assert_allclose(line.get_ydata(), mean)
  (band,) = axes.collections
  edges = band.get_paths()[0].get_extents()
  assert edges.ymax == pytest.approx(max(mean + reach))
  assert edges.ymin == pytest.approx(min(mean - reach))


def test_what_diverged_has_a_name_and_no_line(whole):
  path, _, found = whole
  texts = found.files['figures/tasks_labels_default.svg']
  assert '>sgd ×<' in texts
  assert '>sgd ×<' in found.files['figures/matrices_split_default.svg']
  assert '>sgd ×<' in found.files['figures/first_task_split_default.svg']
  figure = drawn(path, 'tasks', 'split', 'default')
  assert not [
    x for axes in figure.axes for x in axes.lines if x.get_label() == 'sgd'
  ]
  # Of two seeds there is a line, and nothing is filled around it.
  (axes,) = (x for x in figure.axes if x.get_title('left').startswith('mech'))
  assert any(x.get_label() == 'upgd' for x in axes.lines)
  assert not any(len(x.get_paths()) for x in axes.collections)
  assert '0 of 4, 4 diverged |' in found.files['tables/streams.md']
  assert '2 of 4 |' in found.files['tables/streams.md']


def test_where_everything_diverged_there_is_nothing_to_draw(tmp_path):
  directories.write(tmp_path / 'x', SMALL, diverged=SMALL.arms)
  study = reading.read(tmp_path / 'x')
  for kind in ('tasks', 'matrices', 'first_task'):
    assert not list(figures.KINDS[kind].draw(study))
  rows = report.tables.TABLES['forgetting'](study).markdown()
  assert rows.count('0 of 4, 4 diverged') == 2


def test_maps_have_the_accuracy_at_the_end_of_each_task(whole):
  path, _, _ = whole
  figure = drawn(path, 'matrices', 'split', 'default')
  (axes,) = (x for x in figure.axes if x.get_title('left') == 'adamw')
  (mesh,) = axes.collections
  shown = mesh.get_array().reshape(5, 5)
  rows = [
    row
    for row in directories.read(path / 'evaluations.csv')
    if row['arm'] == 'adamw' and row['update'] == '120'
  ]
  assert len(rows) == 25
  for row in rows:
    cell = shown[int(row['task']) - 1, int(row['evaluated_task']) - 1]
    assert cell == pytest.approx(100 * float(row['mean']))


def test_the_first_task_is_drawn_at_every_evaluation(whole):
  path, _, _ = whole
  figure = drawn(path, 'first_task', 'split', 'default')
  (line,) = (
    x for axes in figure.axes for x in axes.lines if x.get_label() == 'adamw'
  )
  x, y = line.get_data()
  np.testing.assert_allclose(x, np.arange(1, 61) / 12)
  rows = [
    float(row['mean'])
    for row in directories.read(path / 'evaluations.csv')
    if row['arm'] == 'adamw' and row['evaluated_task'] == '1'
  ]
  np.testing.assert_allclose(y, 100 * np.array(rows))


def test_a_line_far_from_all_others_does_not_flatten_them(tmp_path):
  study = dataclasses.replace(
    STUDY, arms=('full', 'sgd', 'sgdm', 'adam', 'adamw'), tuning=None,
    conditions=(Condition('labels', LABELS, rulesets=DEFAULT),),
  )  # fmt: skip
  directories.write(tmp_path / 'x', study)
  file = tmp_path / 'x' / 'measures.csv'
  lines = file.read_text().splitlines()
  for i, line in enumerate(lines):
    if ',sgdm,' in line and ',weight_norm,' in line:
      lines[i] = ','.join([*line.split(',')[:6], '1e9', '1'])
  file.write_text('\n'.join(lines) + '\n')
  figure = drawn(tmp_path / 'x', 'tasks', 'labels', 'default')
  norms = [x for x in figure.axes if x.get_ylabel() == '‖w‖']
  assert all(x.get_ylim()[1] < 100 for x in norms)
  # It is said where it is.
  assert [x for axes in norms for x in axes.lines if x.get_marker() == '^']


@pytest.mark.parametrize(
  ('name', 'kinds', 'tables'),
  [
    ('streams.csv', set(), {'streams', 'forgetting'}),
    ('measures.csv', {'tasks'}, set()),
    ('evaluations.csv', {'matrices', 'first_task'}, set()),
  ],
)
@pytest.mark.parametrize('how', ['gone', 'empty'])
def test_what_is_not_there_is_left_out(tmp_path, name, kinds, tables, how):
  path = tmp_path / 'x'
  directories.write(path, SMALL)
  if how == 'gone':
    (path / name).unlink()
  else:
    (path / name).write_text('')
  study = reading.read(path)
  streamed = {'tasks', 'matrices', 'first_task'}
  assert {
    x for x in streamed if not list(figures.KINDS[x].draw(study))
  } == kinds
  makers = report.tables.TABLES
  found = {x for x in ('streams', 'forgetting') if makers[x](study) is None}
  assert found == tables


def test_names_are_only_names(tmp_path):
  """Whatever tables hold is shown, and is neither markup nor mathematics."""
  path = tmp_path / 'x'
  directories.write(path, SMALL)
  for file in path.iterdir():
    text = file.read_text()
    if file.suffix == '.json':
      text = text.replace('"sgd"', json.dumps(NASTY))
      text = text.replace('"split": {', f'{json.dumps(NASTY)}: {{')
    else:
      quoted = NASTY.replace('"', '""')
      text = re.sub(r'(?m)^split,', f'"{quoted}",', text)
      text = text.replace(',sgd,', f',"{quoted}",')
    file.write_text(text)
  found = made(path)
  assert found.files['report.html'].count('<script') == 1
  for kind in ('tasks', 'matrices', 'first_task'):
    (name,) = (x for x in found.files if re.search(rf'/{kind}.*svg', x))
    assert re.fullmatch(r'[\w./-]+', name)
    texts = [*ElementTree.fromstring(found.files[name]).itertext()]
    assert any(NASTY in text for text in texts)
    assert '<script' not in found.files[name]
  for name in ('streams', 'forgetting'):
    text = found.files[f'tables/{name}.md']
    lines = [x for x in text.splitlines() if x.startswith('|')]
    assert len({len(re.findall(r'(?<!\\)\|', x)) for x in lines}) == 1


def edit(name, old, new, count=1):
  """What changes a table."""

  def do(path):
    text = (path / name).read_text()
    assert old in text
    (path / name).write_text(text.replace(old, new, count))

  return do


def repeat(name):
  def do(path):
    lines = (path / name).read_text().splitlines(keepends=True)
    (path / name).write_text(''.join([*lines, lines[1]]))

  return do


@pytest.mark.parametrize(
  ('change', 'words'),
  [
    (edit('streams.csv', ',value', ',number'), "streams.*no column 'value'"),
    (edit('streams.csv', ',online_loss,0', ',online_loss,x0'),
     'streams.*value is .*not a number'),
    (edit('streams.csv', ',online_loss,0', ',online_loss,1e999,finished\n0'),
     "streams.*value is '1e999', which is not a finite number"),
    (edit('streams.csv', ',sgd,0', ',sgd,zero'), 'seed is .*whole number'),
    (edit('streams.csv', ',sgd,', ',lion,'),
     r"streams\.csv has the arm 'lion'.*another study"),
    (edit('streams.csv', 'split,', 'tilps,'), "'tilps'.*another study"),
    (repeat('streams.csv'), r'streams\.csv is damaged.*stands there twice'),
    (edit('measures.csv', ',sgd,1,', ',sgd,0,'), 'whole number from 1'),
    (edit('measures.csv', ',sgd,1,', ',sgd,6,'),
     r'measures\.csv has the task 6 .* has 5 tasks: it is of another'),
    (edit('measures.csv', ',online_loss,4', ',online_loss,-4'),
     'n is .*whole number from 0'),
    (edit('measures.csv', ',online_loss', ','), 'measure is .*printable name'),
    (edit('measures.csv', ',sgd,', ',lion,'), r"measures\.csv has the arm"),
    (repeat('measures.csv'), r'measures\.csv is damaged.*stands there twice'),
    (edit('evaluations.csv', ',sgd,1,10,1,', ',sgd,1,10,7,'),
     'the evaluated_task 7 '),
    (edit('evaluations.csv', ',sgd,1,10,1,4,', ',sgd,1,10,1,4,9'),
     'mean is .*fraction from 0 to 1'),
    (repeat('evaluations.csv'), r'evaluations\.csv is dam.*there twice'),
    (edit('evaluations.csv', ',sgd,', ',lion,'), 'evaluations.*the arm'),
    (lambda path: (path / 'measures.csv').write_bytes(b'\xff\xfe'),
     r'measures\.csv is damaged'),
  ],
)  # fmt: skip
def test_what_is_damaged_or_foreign_is_named(tmp_path, change, words):
  path = tmp_path / 'x'
  directories.write(path, SMALL)
  change(path)
  with pytest.raises(errors.StorageError, match=words) as caught:
    reading.read(path)
  assert '\n' not in str(caught.value)


@pytest.mark.slow
def test_many_arms_and_tasks_have_small_pictures(tmp_path):
  arms = (*catalogue.STREAM_ARMS, 'muon')
  study = dataclasses.replace(
    STUDY, arms=arms, tuning=None,
    conditions=(
      Condition('labels', dataclasses.replace(LABELS, tasks=60),
                rulesets=DEFAULT),
      Condition('split', SPLIT, rulesets=DEFAULT),
    ),
  )  # fmt: skip
  directories.write(tmp_path / 'x', study)
  found = made(tmp_path / 'x')
  sizes = {
    name: len(x) for name, x in found.files.items() if name.endswith('.svg')
  }
  assert max(sizes.values()) < 600_000
  for arm in arms:
    assert f'>{arm}<' in found.files['figures/tasks_labels_default.svg']
    assert f'>{arm}<' in found.files['figures/matrices_split_default.svg']
