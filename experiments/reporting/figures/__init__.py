"""The pictures of a report; a new one is a module here."""

from experiments import discovery
from experiments.reporting.figures.kind import Drawing
from experiments.reporting.figures.kind import Kind
from experiments.reporting.figures.kind import KINDS
from experiments.reporting.figures.kind import words

__all__ = ['KINDS', 'Drawing', 'Kind', 'words']

discovery.import_all(__name__, __path__)
