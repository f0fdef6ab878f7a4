"""Settings that more than one file of tests goes through."""

NEUTRAL = dict(min_alpha=1.0, max_alpha=1.0, homeostasis=None)
