"""Pictures as PNG and SVG, the same whenever they are made."""

import io
from pathlib import Path
import re
from xml.etree import ElementTree

from matplotlib.figure import Figure

from experiments import files

_DPI = 110
_SPACE = 'http://www.w3.org/2000/svg'
_LINK = 'http://www.w3.org/1999/xlink'
_REFERENCE = re.compile(r'#([\w-]+)')
_URL = re.compile(r'#([^)"]+)')
_NUMBER = re.compile(r'-?\d+\.\d+')
# As every text would say it.
_FONT = "font-family: 'DejaVu Sans', 'Verdana', sans-serif; "
# What holds coordinates; a pixel is about one of their units.
_COORDINATES = ('d', 'x', 'y', 'width', 'height', 'points', 'transform')


def save(figure: Figure, path: Path, dpi: int = _DPI) -> None:
  """Writes a PNG that appears whole, in a folder that is made if need be."""
  with files.replacing(path) as temporary:
    # Not its parents: a run directory that is gone stays gone.
    path.parent.mkdir(exist_ok=True)
    figure.savefig(temporary, format='png', dpi=dpi)


def png(figure: Figure, source: str | None = None) -> bytes:
  """A picture as PNG, which may say of what source it is made."""
  file = io.BytesIO()
  metadata = {'Software': None} | ({'Source': source} if source else {})
  figure.savefig(file, format='png', dpi=_DPI, metadata=metadata)
  return file.getvalue()


def svg(figure: Figure) -> str:
  """A picture as SVG.

  Comments, metadata, identifiers that nothing refers to and digits that nobody
  sees are left out: they are more than half of what Matplotlib writes.
  """
  file = io.StringIO()
  figure.savefig(file, format='svg', metadata={'Date': None, 'Creator': None})
  root = _parse(file.getvalue())
  values = [x for element in root.iter() for x in element.attrib.values()]
  referred = {name for value in values for name in _REFERENCE.findall(value)}
  for element in root.iter():
    if element.attrib.get('id') not in referred:
      element.attrib.pop('id', None)
    if 'style' in element.attrib:
      short = element.attrib['style'].replace(_FONT, '')
      element.set('style', re.sub(r'([:;]) ', r'\1', short))
    if element.attrib.get('transform', '').startswith('rotate(-0 '):
      del element.attrib['transform']
    for name in _COORDINATES:
      if name in element.attrib:
        short = _NUMBER.sub(_rounded, element.attrib[name])
        element.set(name, re.sub(r'\s*([A-Za-z,])\s*', r'\1', short).strip())
  root.set('font-family', _FONT.removeprefix('font-family: ').rstrip('; '))
  _unwrap(root)
  text = ElementTree.tostring(root, encoding='unicode')
  return f'<?xml version="1.0" encoding="utf-8"?>\n{text}\n'


def element(text: str, prefix: str, title: str) -> str:
  """An SVG element for HTML, which gets along with others beside it.

  Identifiers are made unique within the page, and what would style the whole
  page is left out.

  Args:
    text: what `svg` returned.
    prefix: what no other picture of the page is called.
    title: what it shows, for those who do not see it.
  """
  root = _parse(text)
  for parent in list(root.iter()):
    for style in parent.findall(f'{{{_SPACE}}}style'):
      parent.remove(style)
  for each in root.iter():
    for name, value in each.attrib.items():
      if name == 'id':
        each.set(name, f'{prefix}-{value}')
      elif '#' in value and (name.endswith('href') or 'url(' in value):
        each.set(name, _URL.sub(rf'#{prefix}-\1', value))
  # Its size is the page's matter; how wide it is to be at least, its own.
  width = float(root.attrib.pop('width').removesuffix('pt'))
  root.attrib.pop('height')
  root.set('style', f'--width: {width:.0f}')
  root.set('role', 'img')
  root.set('aria-labelledby', f'{prefix}-title')
  described = ElementTree.Element(f'{{{_SPACE}}}title', id=f'{prefix}-title')
  described.text = title
  root.insert(0, described)
  return ElementTree.tostring(root, encoding='unicode')


def _parse(text: str) -> ElementTree.Element:
  """The root of an SVG; what is made of it again looks as people write it."""
  ElementTree.register_namespace('', _SPACE)
  ElementTree.register_namespace('xlink', _LINK)
  return ElementTree.fromstring(text)


def _rounded(match: re.Match[str]) -> str:
  return f'{float(match[0]):.1f}'.removesuffix('.0')


def _unwrap(parent: ElementTree.Element) -> None:
  """Removes space between elements, and groups that say nothing."""
  if parent.text and not parent.text.strip():
    parent.text = None
  children: list[ElementTree.Element] = []
  for child in parent:
    _unwrap(child)
    child.tail = None
    plain = child.tag == f'{{{_SPACE}}}g' and not child.attrib
    children += list(child) if plain else [child]
  kept = [x for x in children if x.tag != f'{{{_SPACE}}}metadata']
  parent[:] = kept
