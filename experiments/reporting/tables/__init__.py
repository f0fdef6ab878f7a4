"""The tables of a report; a new one is a module here."""

from experiments import discovery
from experiments.reporting.tables.table import Column
from experiments.reporting.tables.table import Table
from experiments.reporting.tables.table import TABLES

__all__ = ['TABLES', 'Column', 'Table']

discovery.import_all(__name__, __path__)
