"""From the results to the comparisons of arms."""

import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from experiments.studies import comparisons
from experiments.studies import frames
from tests.experiments.studies.results import frame
from tests.experiments.studies.results import row
from tests.experiments.studies.results import rows

NAN = math.nan
ARMS = ('adamw', 'full', 'gradient_only', 'muon')


def compare(results, references=comparisons.REFERENCES):
  return comparisons.compare(frame(results), references)


def many(seeds=6):
  """Results of four arms under two conditions and two rulesets."""
  draws = np.random.default_rng(5)
  return [
    row(
      arm,
      seed,
      round(draws.normal(0.85, 0.01), 4),
      condition=condition,
      ruleset=ruleset,
    )
    for condition in ('clean', 'noisy')
    for ruleset in ('tuned', 'default')
    for arm in ARMS
    for seed in range(seeds)
  ]


def test_every_arm_is_compared_with_both_references():
  results = many()
  found = compare(results)
  assert list(found) == list(frames.TABLES['comparisons'])
  keys = ['condition', 'ruleset', 'reference', 'arm']
  assert [*found[keys].itertuples(index=False, name=None)] == [
    (condition, ruleset, reference, arm)
    for condition in ('clean', 'noisy')
    for ruleset in ('default', 'tuned')
    for reference in ('adamw', 'gradient_only')
    for arm in ARMS
    if arm != reference
  ]
  own = pd.DataFrame(results).query(
    'condition == "clean" and ruleset == "default"'
  )
  accuracies = {arm: x['test_accuracy'] for arm, x in own.groupby('arm')}
  family = found[:3]
  p = [
    stats.ttest_rel(accuracies[arm], accuracies['adamw']).pvalue
    for arm in family['arm']
  ]
  np.testing.assert_allclose(family['p'], p)
  # The least of three is multiplied by three.
  least = int(np.argmin(p))
  assert family['p_holm'][least] == pytest.approx(min(1, 3 * p[least]))
  assert (found['n'] == 6).all()
  assert ((found['p'] <= found['p_holm']) & (found['p_holm'] <= 1)).all()


def test_order_of_rows_does_not_matter():
  results = many()
  expected = compare(results)
  np.random.default_rng(1).shuffle(results)
  keys = ['condition', 'ruleset', 'reference', 'arm']
  found = compare(results).sort_values(keys, ignore_index=True)
  pd.testing.assert_frame_equal(found, expected)


def test_pairs_are_the_seeds_that_both_arms_have():
  results = [
    *rows(adamw=[0.5, 0.6, 0.7]),
    *(row('full', seed, 0.9) for seed in (1, 2, 3, 4)),
    row('full', 0, NAN, status='missing'),
  ]
  (found,) = compare(results).itertuples()
  assert found.n == 2
  assert found.mean_difference == pytest.approx(0.25)


def test_too_few_pairs_give_nan():
  results = [
    *rows(adamw=[0.5, 0.5, 0.5], one=[0.75], full=[0.7, 0.8, 0.75]),
    row('none', 0, NAN, status='missing'),
    row('other_seeds', 9, 0.9),
  ]
  found = compare(results).set_index('arm')
  values = [*frames.TABLES['comparisons']][5:]
  assert found.loc[['none', 'other_seeds'], values].isna().all(axis=None)
  assert found['n'].to_dict() == {
    'full': 3, 'none': 0, 'one': 1, 'other_seeds': 0,
  }  # fmt: skip
  assert found.loc['one', 'mean_difference'] == 0.25
  assert found.loc['one', values[1:]].isna().all()
  # Three of the four were not tested, so nothing is adjusted.
  assert found.loc['full', 'p_holm'] == found.loc['full', 'p'] < 0.05


def test_without_a_reference_there_are_no_rows():
  for results in ([], rows(adamw=[0.5]), rows(full=[0.5], sgd=[0.4])):
    found = compare(results)
    assert found.empty
    assert list(found) == list(frames.TABLES['comparisons'])
  # It is one of the arms, but none of its seeds is ready.
  results = rows(full=[0.5, 0.6])
  results.append(row('adamw', 0, NAN, status='missing'))
  (found,) = compare(results).itertuples()
  assert (found.arm, found.n) == ('full', 0)
