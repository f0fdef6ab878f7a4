"""Compares arms: from the results of a study to `comparisons.csv`."""

from collections.abc import Sequence

import pandas as pd

from experiments.studies import frames
from experiments.studies import statistics

# The usual choice, and the optimizer that the paper claims to improve on.
REFERENCES: tuple[str, ...] = ('adamw', 'gradient_only')
# On streams many rules have to beat plain SGD.
STREAM_REFERENCES = (*REFERENCES, 'sgd')


def compare(table: pd.DataFrame, references: Sequence[str]) -> pd.DataFrame:
  """Compares every arm with the references, seed by seed.

  Pairs are the seeds that both arms have. p-values are adjusted by Holm's
  procedure over the arms of a condition and ruleset, for each reference.

  Args:
    table: rows of `results.csv` with the column `accuracy` (see
      `scores.with_accuracy`), NaN for seeds that are missing.
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
      compared = pd.DataFrame(
        [statistics.compare(pairs[arm].dropna()) for arm in others],
        columns=statistics.Comparison._fields,
        dtype=float,
      )
      found.append(
        compared.assign(
          condition=condition,
          ruleset=ruleset,
          arm=others,
          reference=reference,
          p_holm=statistics.holm(compared['p']),
        )
      )
  return frames.make('comparisons', found)
