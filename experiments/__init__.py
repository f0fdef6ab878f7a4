"""Programs that train and measure; they run from the checkout."""

import sys

# `python -m experiments.NAME` comes here before its imports, which take
# seconds: Ctrl-C ends them without a traceback.
if sys.argv[:1] == ['-m']:
  from experiments import interrupts

  interrupts.end_at_once()
