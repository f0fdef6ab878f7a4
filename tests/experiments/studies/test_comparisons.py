"""From rows of results to rows of comparisons."""

import math

from hypothesis import given
from hypothesis import strategies as st
import numpy as np
import pytest
from scipy import stats

from experiments import errors
from experiments.studies import comparisons
from tests.experiments.studies import tables

NAN = math.nan
ARMS = ('adamw', 'full', 'gradient_only', 'muon')


def _results(seeds=6):
  """Results of four arms under two conditions and two rulesets."""
  draws = np.random.default_rng(5)
  return [
    tables.row(
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


def _only(found, **where):
  (row,) = (
    row for row in found if all(row[key] == x for key, x in where.items())
  )
  return row


def _same(found, expected):
  """Whether the rows are equal, where NaN equals NaN."""
  np.testing.assert_equal(found, expected)


def test_every_arm_against_both_references():
  results = _results()
  found = comparisons.rows(results, chance=0.1)
  assert all(tuple(row) == comparisons.COLUMNS for row in found)
  names = [
    (row['condition'], row['ruleset'], row['reference'], row['arm'])
    for row in found
  ]
  assert names == [
    (condition, ruleset, reference, arm)
    for condition in ('clean', 'noisy')
    for ruleset in ('default', 'tuned')
    for reference in ('adamw', 'gradient_only')
    for arm in ARMS
    if arm != reference
  ]
  family = found[:3]
  accuracies = {
    arm: [
      row['test_accuracy']
      for row in results
      if (row['condition'], row['ruleset'], row['arm'])
      == ('clean', 'default', arm)
    ]
    for arm in ARMS
  }
  p = [
    stats.ttest_rel(accuracies[row['arm']], accuracies['adamw']).pvalue
    for row in family
  ]
  np.testing.assert_allclose([row['p'] for row in family], p)
  # The least of three is multiplied by three.
  least = int(np.argmin(p))
  assert family[least]['p_holm'] == pytest.approx(min(1, 3 * p[least]))
  for row in found:
    assert (row['n'], row['p'] <= row['p_holm'] <= 1) == (6, True)


@given(st.randoms(use_true_random=False))
def test_rows_may_come_in_any_order(random):
  results = _results()
  expected = comparisons.rows(results, chance=0.1)
  random.shuffle(results)
  _same(comparisons.rows(results, chance=0.1), expected)


@given(st.sampled_from(ARMS), st.sampled_from(ARMS))
def test_arm_and_reference_can_be_exchanged(arm, reference):
  if arm == reference:
    return
  found = comparisons.rows(_results(), 0.1, references=ARMS)
  where = {'condition': 'clean', 'ruleset': 'tuned'}
  there = _only(found, **where, arm=arm, reference=reference)
  back = _only(found, **where, arm=reference, reference=arm)
  for key in ('mean_difference', 'effect_size'):
    assert there[key] == pytest.approx(-back[key])
  assert there['ci_low'] == pytest.approx(-back['ci_high'])
  for key in ('n', 'p', 'seeds_needed'):
    assert there[key] == pytest.approx(back[key])


def test_a_file_says_the_same():
  results = _results()
  results[2] = {**results[2], 'status': 'diverged', 'test_accuracy': ''}
  _same(
    comparisons.rows(tables.by_csv(results), chance=0.1),
    comparisons.rows(results, chance=0.1),
  )


@pytest.mark.parametrize('measured', ['', 'nan', 0.098, NAN])
def test_diverged_seeds_count_as_chance(measured):
  results = tables.rows(adamw=[0.8, 0.8, 0.8], full=[0.9, 0.9])
  results.append(tables.row('full', 2, measured, status='diverged'))
  (found,) = comparisons.rows(results, chance=0.1)
  assert found['n'] == 3
  assert found['mean_difference'] == pytest.approx((0.1 + 0.1 - 0.7) / 3)


def test_pairs_are_the_seeds_that_both_arms_have():
  results = [
    *tables.rows(adamw=[0.5, 0.6, 0.7]),
    *(tables.row('full', seed, 0.9) for seed in (1, 2, 3, 4)),
    tables.row('full', 0, '', status='missing'),
  ]
  (found,) = comparisons.rows(results, chance=0.1)
  assert found['n'] == 2
  assert found['mean_difference'] == pytest.approx(0.25)


def test_too_few_pairs_are_said_to_be_few():
  results = [
    *tables.rows(adamw=[0.5, 0.5, 0.5], one=[0.75], full=[0.7, 0.8, 0.75]),
    tables.row('none', 0, '', status='missing'),
    tables.row('other_seeds', 9, 0.9),
  ]
  found = comparisons.rows(results, chance=0.1)
  undefined = dict.fromkeys(comparisons.COLUMNS[5:], NAN)
  rest = {'condition': 'noise_0.2', 'ruleset': 'default', 'reference': 'adamw'}
  for arm in ('none', 'other_seeds'):
    _same(_only(found, arm=arm), {**rest, 'arm': arm, 'n': 0, **undefined})
  _same(
    _only(found, arm='one'),
    {**rest, 'arm': 'one', 'n': 1, **undefined, 'mean_difference': 0.25},
  )
  # Three of the four were not tested, so nothing is adjusted.
  full = _only(found, arm='full')
  assert full['p_holm'] == full['p'] < 0.05


def test_arms_that_do_the_same():
  results = tables.rows(adamw=[0.5, 0.6], same=[0.5, 0.6], more=[0.75, 0.85])
  more, same = comparisons.rows(results, chance=0.1)
  assert (same['mean_difference'], same['p'], same['p_holm']) == (0, 1, 1)
  assert (same['effect_size'], same['seeds_needed']) == (0, math.inf)
  assert more['ci_low'] == more['ci_high'] == pytest.approx(0.25)
  assert (more['p'], more['effect_size']) == (0, math.inf)


def test_without_a_reference_there_is_nothing_to_compare():
  assert comparisons.rows([], chance=0.1) == []
  assert comparisons.rows(tables.rows(adamw=[0.5]), chance=0.1) == []
  assert comparisons.rows(tables.rows(full=[0.5], sgd=[0.4]), 0.1) == []
  # It is one of the arms, but none of its seeds is ready.
  results = tables.rows(full=[0.5, 0.6])
  results.append(tables.row('adamw', 0, '', status='missing'))
  (found,) = comparisons.rows(results, chance=0.1)
  assert (found['arm'], found['n']) == ('full', 0)


@pytest.mark.parametrize(
  ('changes', 'words'),
  [
    ({'test_accuracy': '87.5'}, ['muon', 'test_accuracy', '87.5', '0 to 1']),
    ({'test_accuracy': ''}, ['test_accuracy', "''", '0 to 1']),
    ({'test_accuracy': 'high'}, ['test_accuracy', 'high', 'not a number']),
    ({'seed': '1.5'}, ['1.5', 'whole number']),
    ({'seed': 0}, ['noise_0.2, ruleset default, arm muon, seed 0', 'twice']),
    ({'status': None}, ['no status']),
    ({'arm': ''}, ['no arm']),
  ],
)
def test_results_that_cannot_be(changes, words):
  results = tables.rows(adamw=[0.5, 0.5], muon=[0.6])
  results.append({**tables.row('muon', 1, 0.5), **changes})
  with pytest.raises(errors.StorageError) as e:
    comparisons.rows(results, chance=0.1)
  said = str(e.value)
  assert all(word in said for word in words), said
  assert '\n' not in said
