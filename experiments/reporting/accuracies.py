"""What the accuracy is by which a study tunes and compares its arms.

`results.csv` calls it `test_accuracy` and `trials.csv` `validation_accuracy`,
whatever is learned; reports say what it is.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from experiments.studies import loading
from experiments.studies.loading import Published

ACCURACY, ONLINE, AVERAGE = 'accuracy', 'online accuracy', 'average accuracy'
TEST, VALIDATION = 'test accuracy', 'validation accuracy'
_MEANING = {
  TEST: 'the accuracy on the test set, after the last epoch',
  VALIDATION: 'the accuracy on held-out training images, after the last epoch',
  ONLINE: (
    'that of all tasks of a stream, each batch scored before it is learned'
  ),
  AVERAGE: (
    'that on all tasks of a split, on images that are not learned, after the '
    'last task'
  ),
}


def compared(task: Mapping[str, Any]) -> str:
  """What is compared where a task is learned, by the definition of it."""
  return _of_stream(task) or TEST


def compared_in(study: Published) -> list[str]:
  """What is compared under the conditions of a study, each of it once."""
  found = [compared(each.task) for each in study.conditions.values()]
  return [*dict.fromkeys(found)]


def tuned_on(study: Published, condition: str) -> str:
  """What the tuner went by under one of its conditions."""
  tasks = (study.study['definition'].get('tuning') or {}).get('tasks') or {}
  return _of_stream(tasks.get(condition) or {}) or VALIDATION


def tuned_in(study: Published) -> list[str]:
  """What the tuner of a study goes by, under the conditions of its trials."""
  names = study.trials['condition'].unique()
  return [*dict.fromkeys(tuned_on(study, name) for name in names)]


def common(names: Iterable[str]) -> str:
  """One name for all of them: their own if they have the same."""
  found = {*names}
  return found.pop() if len(found) == 1 else ACCURACY


def meaning(names: Iterable[str]) -> str:
  """Sentences that say what each is, with a space before; of streams only."""
  names = [*names]
  if not {ONLINE, AVERAGE} & {*names}:
    return ''
  return ''.join(f' {x.capitalize()}: {_MEANING[x]}.' for x in names)


def _of_stream(task: Mapping[str, Any]) -> str | None:
  if not task.get('stream'):
    return None
  return AVERAGE if loading.is_split(task) else ONLINE
