"""The tables of a report; a new one is a file here and an import below."""

from experiments.reporting.tables import arms as arms
from experiments.reporting.tables import differences as differences
from experiments.reporting.tables import ratios as ratios
from experiments.reporting.tables import streams as streams
from experiments.reporting.tables import summary as summary
from experiments.reporting.tables import tuned as tuned
from experiments.reporting.tables.table import Column as Column
from experiments.reporting.tables.table import Table as Table
from experiments.reporting.tables.table import TABLES as TABLES
