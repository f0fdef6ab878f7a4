"""Studies: declared, computed cell by cell, and told in tables.

Declaring:
  declarations  what a study, a condition and a tuning are
  catalogue     the studies
  tuner         which trials an arm gets, and which of them wins
  stable        which hyperparameters are good wherever an arm was tuned
Computing:
  plan          the cells of a study, and who computes them
  cells         how cells are named and stored; `versions` names the code
  known         results of which only tables are left
  computing     one cell, in one compiled program
  speeds        how long updates and cells take
  running       all cells that are missing; `workers` are the processes
Telling, by pandas, NumPy and SciPy:
  frames        the columns of all tables; reading and writing
  tables        from the outcomes of cells to tables; `stream_tables`
  scores        what counts of each seed; `comparisons` of arms
  statistics    intervals, tests, effect sizes; `profiles` over conditions
  loading       a study directory, read back without its cells
The directory of a study (`directory`) joins them for the program.
"""
