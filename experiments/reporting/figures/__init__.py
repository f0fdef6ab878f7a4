"""The pictures of a study; a new one is a file here and an import below."""

from experiments.reporting.figures import alpha as alpha
from experiments.reporting.figures import curves as curves
from experiments.reporting.figures import forest as forest
from experiments.reporting.figures import inactive as inactive
from experiments.reporting.figures import profile as profile
from experiments.reporting.figures import sensitivity as sensitivity
from experiments.reporting.figures import series as series
from experiments.reporting.figures import tasks as tasks
from experiments.reporting.figures import trials as trials
from experiments.reporting.figures.kind import Kind as Kind
from experiments.reporting.figures.kind import KINDS as KINDS
from experiments.reporting.figures.kind import words as words
