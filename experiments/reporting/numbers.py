"""How numbers are written for people."""

import math

NONE = '–'


def fixed(x: float, digits: int = 2, *, sign: bool = False) -> str:
  """A number with some digits behind the point, and a plus if it has a sign."""
  if math.isnan(x):
    return NONE
  # A minus as wide as the plus.
  return f'{x:{"+" if sign else ""}.{digits}f}'.replace('-', '−')


def spread(
  mean: float, sd: float, digits: int = 2, *, sign: bool = False
) -> str:
  """A mean ± its standard deviation, where there is one."""
  text = fixed(mean, digits, sign=sign)
  return text if math.isnan(mean + sd) else f'{text} ± {sd:.{digits}f}'


def difference(mean: float, low: float, high: float) -> str:
  """A difference in points with its interval, where there is one."""
  ends = [fixed(x, sign=True) for x in (mean, low, high)]
  return ends[0] if NONE in ends[1:] else f'{ends[0]} [{ends[1]}, {ends[2]}]'


def p_value(p: float) -> str:
  """A p-value."""
  return '< 0.001' if p < 0.001 else fixed(p, 3)


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


def of(there: int, planned: int) -> str:
  """How many there are, of those there are to be."""
  return str(there) if there == planned else f'{there} of {planned}'
