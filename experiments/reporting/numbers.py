"""How numbers are written for people."""

import math

NONE = '–'


def percent(fraction: float) -> str:
  """A share or an accuracy, in percent: 0.879 is 87.90."""
  return NONE if math.isnan(fraction) else f'{100 * fraction:.2f}'


def points(difference: float) -> str:
  """A difference of accuracies in percentage points, with its sign."""
  if math.isnan(difference):
    return NONE
  text = f'{100 * difference:+.2f}'
  # A minus as wide as the plus.
  return text.replace('-', '−')


def interval(low: float, high: float) -> str:
  """An interval of differences, in points."""
  if math.isnan(low) or math.isnan(high):
    return ''
  return f'[{points(low)}, {points(high)}]'


def p_value(p: float) -> str:
  """A p-value."""
  if math.isnan(p):
    return NONE
  return '< 0.001' if p < 0.001 else f'{p:.3f}'


def short(x: float, digits: int = 3) -> str:
  """Any number, to a few digits."""
  if math.isnan(x):
    return NONE
  if math.isinf(x):
    return '∞' if x > 0 else '−∞'
  return f'{x:.{digits}g}'.replace('-', '−')


def count(x: float) -> str:
  """A whole number, which may be infinite or not there."""
  return f'{x:.0f}' if math.isfinite(x) else short(x)
