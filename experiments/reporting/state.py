"""How complete a study is, and what a reader must know, in sentences."""

from collections.abc import Iterator, Mapping
import shlex
from typing import Any

from experiments.studies.loading import Published


def sentences(study: Published) -> Iterator[str]:
  """How complete it is, what diverged, and what was extended."""
  rows = study.summary
  missing = rows['seeds_planned'] - rows['seeds']
  planned = rows['seeds_planned'].sum()
  if missing.any():
    yield (
      f'The study is incomplete: {missing.sum()} of {planned} reported '
      f'trainings are missing, of {(missing > 0).sum()} of {len(rows)} '
      'combinations of arm, condition and ruleset. Intervals and p-values will '
      'change.'
    )
  else:
    yield f'The study is complete: {planned} reported trainings.'
  by_arm = rows.groupby('arm', sort=False)[['diverged', 'seeds']].sum()
  diverged = by_arm[by_arm['diverged'] > 0]
  if len(diverged):
    named = ', '.join(f'{x} ({n} of {m})' for x, n, m in diverged.itertuples())
    yield f'Trainings that diverged count as chance: {named}.'
  else:
    yield 'No training diverged.'
  if study.study['definition'].get('smoke'):
    yield 'It is a tiny test of the program: its numbers mean nothing.'
  for condition, tuning in (study.study.get('tuning') or {}).items():
    yield f'Tuned on {condition}: {_extended(tuning)}'


def _extended(tuning: Mapping[str, Any]) -> str:
  if not tuning.get('numbers'):
    return 'no arm has been tuned yet.'
  below, above = (
    tuning.get(f'rates_added_{where}', 0) for where in ('below', 'above')
  )
  if not (below or above):
    return 'the ranges of the learning rate were not extended.'
  parts = [
    f'{count} rate{"s" * (count > 1)} {where}'
    for count, where in ((below, 'below'), (above, 'above'))
    if count
  ]
  return (
    'the ranges of the learning rate were extended for all arms by '
    f'{" and ".join(parts)}, because the best rate of an arm was at the edge.'
  )


def provenance(study: Published) -> list[tuple[str, list[str]]]:
  """Who made the results: what it is, with every value that it had."""
  processes = study.study.get('provenance') or []
  found = [
    ('command', [shlex.join(each.get('command') or []) for each in processes]),
    ('commit', [str(each.get('commit')) for each in processes]),
    ('versions', [_listed(each.get('versions')) for each in processes]),
    ('hardware', [_listed(each.get('hardware')) for each in processes]),
    ('start', [str(each.get('start')) for each in processes][:1]),
    ('end', [str(study.study.get('end') or 'not ended')]),
  ]
  return [(name, [*dict.fromkeys(values)]) for name, values in found]


def _listed(values: Mapping[str, Any] | None) -> str:
  return ', '.join(f'{name} {x}' for name, x in (values or {}).items())
