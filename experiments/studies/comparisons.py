"""From the results of a study to `comparisons.csv`."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import pandas as pd

from experiments.studies import frames
from experiments.studies import results
from experiments.studies import statistics

COLUMNS = (
  *('condition', 'ruleset', 'arm', 'reference', 'n', 'mean_difference'),
  *('ci_low', 'ci_high', 'p', 'p_holm', 'effect_size', 'seeds_needed'),
)
# What a user takes without thinking, and what the paper claims to improve on.
REFERENCES: tuple[str, ...] = ('adamw', 'gradient_only')
# On streams plain SGD is what many a rule has to beat.
STREAM_REFERENCES = (*REFERENCES, 'sgd')


def compare(table: pd.DataFrame, references: Sequence[str]) -> pd.DataFrame:
  """Compares every arm with the references, seed by seed.

  Pairs are the seeds that both arms have. p-values are adjusted by Holm's
  procedure over the arms of a condition and ruleset, for each reference.

  Args:
    table: rows of `results.csv` with the column `accuracy` (see
      `loading.with_accuracy`), NaN for seeds that are missing.
    references: the arms to compare with. Where one is not among the arms of a
      condition and ruleset, nothing is compared with it there.

  Returns:
    `comparisons.csv`, sorted by condition, ruleset, reference (in the order
    given), and arm. Differences are those of accuracies as fractions. An arm
    without pairs has n = 0 and NaN everywhere else; one with a single pair has
    a difference and no interval, which again are NaN.
  """
  found: list[pd.DataFrame] = []
  for (condition, ruleset), group in table.groupby(['condition', 'ruleset']):
    by_seed = group.pivot(index='seed', columns='arm', values='accuracy')
    for reference in references:
      if reference not in by_seed:
        continue
      others = by_seed.columns.drop(reference)
      pairs = by_seed[others].sub(by_seed[reference], axis=0)
      compared = [
        statistics.compare(pairs[arm].dropna().to_numpy()) for arm in others
      ]
      part = {
        'condition': condition,
        'ruleset': ruleset,
        'arm': others,
        'reference': reference,
        'p_holm': statistics.holm([each.p for each in compared]),
      }
      found.append(pd.DataFrame(compared, index=others).assign(**part))
  return frames.make('comparisons', found)


def rows(
  results_rows: Iterable[Mapping[str, Any]],
  chance: float,
  references: Sequence[str] = REFERENCES,
) -> list[dict[str, Any]]:
  """Compares every arm with the references, seed by seed.

  Pairs are the seeds that both arms have. p-values are adjusted by Holm's
  procedure over the arms of a condition and ruleset, for each reference.

  Args:
    results_rows: the rows of `results.csv`, in any order.
    chance: the accuracy of guessing, a fraction: that of diverged seeds.
    references: the arms to compare with. Where one is not among the arms of a
      condition and ruleset, nothing is compared with it there.

  Returns:
    Rows with the keys `COLUMNS`, sorted by condition, ruleset, reference (in
    the order given), and arm. Differences are those of accuracies as
    fractions. An arm without pairs has n = 0 and NaN everywhere else; one with
    a single pair has a difference and no interval, which again are NaN.

  Raises:
    StorageError: a row of the results cannot be.
  """
  groups = results.accuracies(results_rows, chance)
  return [
    {'condition': condition, 'ruleset': ruleset, **row}
    for (condition, ruleset), arms in sorted(groups.items())
    for reference in references
    for row in _against(reference, arms)
  ]


def _against(
  reference: str, arms: Mapping[str, results.Values]
) -> Iterator[dict[str, Any]]:
  """The rows of one family."""
  if reference not in arms:
    return
  others = sorted(arms.keys() - {reference})
  found = [
    statistics.compare(
      statistics.paired_differences(arms[arm], arms[reference])
    )
    for arm in others
  ]
  adjusted = statistics.holm([each.p for each in found])
  for arm, each, p_holm in zip(others, found, adjusted, strict=True):
    values = {**each._asdict(), 'arm': arm, 'reference': reference}
    values['p_holm'] = float(p_holm)
    yield {name: values[name] for name in COLUMNS[2:]}
