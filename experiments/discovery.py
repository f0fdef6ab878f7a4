"""Packages whose modules register what they define: a new one is a new file."""

from collections.abc import Iterable
import importlib
import pkgutil
from typing import TypeVar

T = TypeVar('T')


class Registry(dict[str, T]):
  """What modules define, by name; no module takes the name of another."""

  def __setitem__(self, name: str, value: T) -> None:
    if name in self:
      raise ValueError(f'{name!r} is registered twice')
    super().__setitem__(name, value)


def import_all(package: str, path: Iterable[str]) -> None:
  """Imports every module of a package.

  Args:
    package: its name.
    path: its `__path__`.
  """
  for module in pkgutil.iter_modules(path):
    importlib.import_module(f'{package}.{module.name}')
