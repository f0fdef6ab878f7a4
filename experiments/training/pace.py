"""How much work one call of a program gets, so that none takes long."""


class Pace:
  """Learns how long a unit of work takes, and fills a time with it.

  Args:
    seconds: how long a call should take.
  """

  def __init__(self, seconds: float = 2.0) -> None:
    self._seconds = seconds
    self._per_unit: float | None = None

  @property
  def per_unit(self) -> float | None:
    """The seconds that a unit took last; None before the first."""
    return self._per_unit

  def units(self, left: int) -> int:
    """How many units the next call gets, of those that are left: at least 1."""
    if self._per_unit is None:
      return 1
    return max(1, min(left, int(self._seconds / max(self._per_unit, 1e-9))))

  def took(self, units: int, seconds: float) -> None:
    """Learns from a call."""
    self._per_unit = seconds / units
