"""What people see: tables, pictures, a page, and the terminal."""

import os

# Pictures are only saved, so any backend will do. A notebook names one of its
# own, which need not be installed here; Matplotlib then fails to import.
os.environ['MPLBACKEND'] = 'agg'
