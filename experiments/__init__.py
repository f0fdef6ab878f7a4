"""Programs that train and measure; they run from the checkout."""

import sys

# So it is called while `python -m` looks for a program in this package, whose
# imports take seconds. To whoever imports the package this means nothing.
if sys.argv[:1] == ['-m']:
  from experiments import interrupts

  interrupts.begin()
