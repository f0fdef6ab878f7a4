"""Packages whose modules register what they define: a new one is a new file."""

from collections.abc import Iterable
import importlib
import pkgutil


def import_all(package: str, path: Iterable[str]) -> None:
  """Imports every module of a package.

  Args:
    package: its name.
    path: its `__path__`.
  """
  for module in pkgutil.iter_modules(path):
    importlib.import_module(f'{package}.{module.name}')
