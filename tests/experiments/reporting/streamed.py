"""What a study would have measured of streams, made of its results."""

import itertools

import numpy as np
from scipy import optimize

from experiments.data import streams
from experiments.training import measures

_IDENTITY = ('condition', 'ruleset', 'arm')
STREAMS = (*_IDENTITY, 'seed', 'measure', 'value', 'status')
MEASURES = (*_IDENTITY, 'task', 'measure', 'n', 'mean', 'sd')
EVALUATIONS = (
  *(*_IDENTITY, 'task', 'update', 'evaluated_task', 'n', 'mean', 'sd'),
)
_TIMES = 12  # Evaluations of a task, one every ten updates.


def tables(study, rows):
  """By name, the columns and rows of the three tables; none without streams."""
  found = [each for each in study.conditions if each.task.stream]
  if not found:
    return {}
  runs = [run for each in found for run in _runs(each, rows)]
  return {
    'streams.csv': (STREAMS, [x for run in runs for x in _summaries(*run)]),
    'measures.csv': (MEASURES, [x for run in runs for x in _by_task(*run)]),
    'evaluations.csv': (
      EVALUATIONS,
      [x for run in runs for x in _evaluations(*run)],
    ),
  }


def _runs(condition, rows):
  """Of each arm and ruleset, what tells it, its rows, and what it measured."""
  own = [
    row
    for row in rows
    if row['condition'] == condition.name and row['status'] != 'missing'
  ]
  keys = lambda row: tuple(row[name] for name in _IDENTITY)
  for key, group in itertools.groupby(own, keys):
    group = list(group)
    random = np.random.default_rng(list('/'.join(key).encode()))
    final = np.array([row['test_accuracy'] for row in group])
    evaluated = None
    if streams.STREAMS[condition.task.stream].splits:
      evaluated = _evaluated(condition.task.tasks, final, random)
    measured = _measured(condition.task.tasks, final, evaluated, random)
    yield dict(zip(_IDENTITY, key, strict=True)), group, measured, evaluated


def _measured(tasks, final, evaluated, random):
  """By measure, [seeds, tasks]; the mean of the accuracy is that of results."""
  place = np.linspace(-1, 1, tasks)
  slope = random.normal(-0.03, 0.03)
  noise = lambda size: random.normal(0, size, (len(final), tasks))
  moved = slope * place + noise(0.01)
  online = final[:, None] + moved - moved.mean(1, keepdims=True)
  found = {
    'online_loss': 1 - online,
    'online_accuracy': np.clip(online, 0, 1),
    'plasticity': 0.3 + slope * place + noise(0.01),
    'dead_units': 0.1 + 0.1 * random.uniform() * (1 + place) + abs(noise(0.01)),
    'effective_rank': 25 - 5 * random.uniform() * (1 + place) + noise(0.5),
    'weight_norm': 10 + 15 * random.uniform() * (1 + place) + noise(0.2),
  }
  if evaluated is not None:
    matrix = evaluated[:, :, -1]
    found['average_accuracy'] = measures.average_accuracy(matrix)
    found['backward_transfer'] = measures.backward_transfer(matrix)
    found['forgetting'] = measures.forgetting(matrix)
    found['min_accuracy'] = measures.min_accuracy(evaluated)
    found['worst_case_accuracy'] = measures.worst_case_accuracy(evaluated)
  return found


def _evaluated(tasks, final, random):
  """The accuracies, [seeds, tasks, evaluations, tasks], 0 before it learns."""
  found = np.zeros((len(final), tasks, _TIMES, tasks))
  now = np.arange(1, 1 + tasks * _TIMES) / _TIMES
  for task in range(tasks):
    since = now - task
    kept = 0.5 + 0.5 * np.exp(-np.maximum(since - 1, 0))
    value = (1 - np.exp(-9 * np.maximum(since, 0))) * kept
    found[..., task] = value.reshape(tasks, _TIMES)
  found *= 1 - 0.1 * random.uniform(size=found.shape)
  # After the last task, their mean is the accuracy that results have.
  for each, mean in zip(found, final, strict=True):
    last = each[-1, -1]
    off = lambda power: np.mean(last**power) - mean  # noqa: B023
    each **= optimize.brentq(off, 0, 100)
  return found


def _summaries(identity, rows, measured, _):
  online = measured['online_accuracy']
  found = {name: values.mean(1) for name, values in measured.items()}
  found['online_accuracy_first_tenth'] = measures.first_tenth(online)
  found['online_accuracy_last_tenth'] = measures.last_tenth(online)
  if online.shape[1] >= 10:
    found['gap_to_fresh'] = 0.9 - online[:, 9::10].mean(1)
  of_splits = (
    *('average_accuracy', 'backward_transfer', 'forgetting'),
    *('min_accuracy', 'worst_case_accuracy'),
  )
  for name in measured.keys() & {*of_splits}:
    found[name] = measured[name][:, -1]
  for name, values in found.items():
    for row, value in zip(rows, values, strict=True):
      lost = row['status'] == 'diverged'
      yield {
        **identity,
        'seed': row['seed'],
        'measure': name,
        'value': '' if lost else value,
        'status': row['status'],
      }


def _by_task(identity, rows, measured, _):
  kept = [row['status'] != 'diverged' for row in rows]
  for name, values in measured.items():
    for task, column in enumerate(values[kept].T):
      if np.isfinite(column).any():
        spread = _spread(column)
        yield {**identity, 'task': task + 1, 'measure': name, **spread}


def _evaluations(identity, rows, _, evaluated):
  if evaluated is None:
    return
  found = evaluated[[row['status'] != 'diverged' for row in rows]]
  for task, i, on in np.ndindex(found.shape[1:]):
    if on == 0 or i == _TIMES - 1:
      yield {
        **identity,
        'task': task + 1,
        'update': 10 * (i + 1),
        'evaluated_task': on + 1,
        **_spread(found[:, task, i, on]),
      }


def _spread(values):
  return {
    'n': len(values),
    'mean': values.mean() if len(values) else '',
    'sd': values.std(ddof=1) if len(values) > 1 else '',
  }
