"""SVG files that are small, and the same whenever they are made."""

import io
import re
from xml.etree import ElementTree

from matplotlib.figure import Figure

SPACE = 'http://www.w3.org/2000/svg'
_LINK = 'http://www.w3.org/1999/xlink'
_REFERENCE = re.compile(r'#([\w-]+)')
_NUMBER = re.compile(r'-?\d+\.\d+')
# As every text would say it.
_FONT = "font-family: 'DejaVu Sans', 'Verdana', sans-serif; "
# What holds coordinates; a pixel is about one of their units.
_COORDINATES = ('d', 'x', 'y', 'width', 'height', 'points', 'transform')


def parse(text: str) -> ElementTree.Element:
  """The root of an SVG; what is made of it again looks as people write it."""
  ElementTree.register_namespace('', SPACE)
  ElementTree.register_namespace('xlink', _LINK)
  return ElementTree.fromstring(text)


def write(figure: Figure) -> str:
  """A picture as SVG.

  Comments, metadata, identifiers that nothing refers to and digits that nobody
  sees are left out: they are more than half of what Matplotlib writes.

  Args:
    figure: the picture.

  Returns:
    The text of a file.
  """
  file = io.StringIO()
  figure.savefig(file, format='svg', metadata={'Date': None, 'Creator': None})
  root = parse(file.getvalue())
  referred = {
    name
    for element in root.iter()
    for value in element.attrib.values()
    for name in _REFERENCE.findall(value)
  }
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


def _rounded(match: re.Match[str]) -> str:
  return f'{float(match[0]):.1f}'.removesuffix('.0')


def _unwrap(element: ElementTree.Element) -> None:
  """Removes space between elements, and groups that say nothing."""
  if element.text and not element.text.strip():
    element.text = None
  children: list[ElementTree.Element] = []
  for child in element:
    _unwrap(child)
    child.tail = None
    plain = child.tag == f'{{{SPACE}}}g' and not child.attrib
    children += list(child) if plain else [child]
  kept = [x for x in children if x.tag != f'{{{SPACE}}}metadata']
  element[:] = kept
