"""What strangers leave in place of the files that the programs read."""

import copy
import csv
import io
import shutil
import zipfile

import numpy as np
from PIL import Image


def _picture():
  buffer = io.BytesIO()
  Image.new('RGB', (3, 3)).save(buffer, 'PNG')
  return buffer.getvalue()


def _archive():
  buffer = io.BytesIO()
  with zipfile.ZipFile(buffer, 'w') as archive:
    archive.writestr('../outside', b'x')
  return buffer.getvalue()


def _arrays():
  buffer = io.BytesIO()
  np.savez(buffer, allow_pickle=True, x=np.array([print], object))
  return buffer.getvalue()


# Files of other programs, whatever was there before.
CONTENTS = {
  'empty': b'',
  'a newline': b'\n',
  'text': b'Dear Sir or Madam,\n',
  'zeros': bytes(5000),
  'noise': np.random.default_rng(0).bytes(5000),
  'UTF-16': 'condition,ruleset\n'.encode('utf-16'),
  'a picture': _picture(),
  'an archive': _archive(),
  'arrays with a pickle': _arrays(),
  'a pickle': b'cos\nsystem\n(S"touch hacked"\ntR.',
  'null': b'null',
  'a list': b'[]',
  'a number': b'1e999',
  'a text in JSON': b'"text"',
  'an object': b'{}',
  'deep JSON': b'[' * 100_000,
  'deep objects': b'{"a":' * 100_000,
  'a long number': b'9' * 10_000,
  'a long line': b'a' * 300_000 + b',b\n' * 3,
}


def spoil(path):
  """Puts one thing after another in the place of a file, and names it."""
  content = path.read_bytes()
  for name, other in CONTENTS.items():
    _clear(path)
    path.write_bytes(other)
    yield name
  for name, part in (
    ('half', content[: len(content) // 2]),
    ('all but the end', content[:-2]),
    ('all but the beginning', content[1:]),
    ('twice', content * 2),
    ('with a NUL', content[:20] + b'\0' + content[20:]),
  ):
    _clear(path)
    path.write_bytes(part)
    yield name
  _clear(path)
  yield 'nothing'
  _clear(path)
  path.mkdir()
  yield 'a folder'
  for name, target in (
    ('a link to nowhere', 'nowhere'),
    ('a link to itself', path.name),
    ('a link to a folder', '..'),
  ):
    _clear(path)
    path.symlink_to(target)
    yield name
  _clear(path)
  path.write_bytes(content)


def _clear(path):
  """Removes whatever there is; the program may have put something there."""
  if path.is_dir() and not path.is_symlink():
    shutil.rmtree(path)
  else:
    path.unlink(missing_ok=True)


_OTHERS = (None, True, -1, 0.5, 'x', [], {}, ['x'], {'x': 'y'}, [{}], 10**400)


def mutated(value):
  """A JSON-able value with one part of it changed or missing, and where."""
  for place in _places(value):
    for other in _OTHERS:
      changed = copy.deepcopy(value)
      holder = _at(changed, place[:-1])
      if place and other != holder[place[-1]]:
        holder[place[-1]] = other
        yield f'{place} is {other!r:.20}', changed
    changed = copy.deepcopy(value)
    if place:
      del _at(changed, place[:-1])[place[-1]]
      yield f'{place} is missing', changed


def _places(value, place=()):
  yield place
  if isinstance(value, dict):
    for key in value:
      yield from _places(value[key], (*place, key))
  elif isinstance(value, list) and value:
    # The others are alike.
    yield from _places(value[0], (*place, 0))


def _at(value, place):
  for each in place:
    value = value[each]
  return value


_CELLS = ('', 'x', '-1', '1e999', 'nan', '9' * 400, '0.5', '[]', '{}', '"', ',')


def tables(text):
  """A table with one value of its first row changed, and where."""
  header, first, *rest = text.splitlines(keepends=True)
  values = next(csv.reader([first]))
  for i, name in enumerate(header.strip().split(',')):
    for other in (
      *_CELLS,
      '{"learning_rate": "x"}',
      '{"learning_rate": 1e999}',
    ):
      changed = io.StringIO()
      csv.writer(changed, lineterminator='\n').writerow(
        [*values[:i], other, *values[i + 1 :]]
      )
      yield (
        f'{name} is {other!r:.20}',
        ''.join([header, changed.getvalue(), *rest]),
      )
