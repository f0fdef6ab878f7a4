"""Pictures within a page: SVG that gets along with others beside it."""

import re
from xml.etree import ElementTree

from experiments.reporting.plots import svg as files

_ID = re.compile(r'#([^)"]+)')


def inline(svg: str, prefix: str, title: str) -> str:
  """An SVG element for HTML.

  Identifiers are made unique within the page, and what would style the whole
  page is left out.

  Args:
    svg: a file that Matplotlib wrote.
    prefix: what no other picture of the page is called.
    title: what it shows, for those who do not see it.

  Returns:
    The element.
  """
  root = files.parse(svg)
  for parent in list(root.iter()):
    for child in list(parent):
      if child.tag == f'{{{files.SPACE}}}style':
        parent.remove(child)
  for element in root.iter():
    for name, value in element.attrib.items():
      if name == 'id':
        element.set(name, f'{prefix}-{value}')
      elif '#' in value and (name.endswith('href') or 'url(' in value):
        element.set(name, _ID.sub(rf'#{prefix}-\1', value))
  _describe(root, prefix, title)
  return ElementTree.tostring(root, encoding='unicode')


def _describe(root: ElementTree.Element, prefix: str, title: str) -> None:
  # Its size is the page's matter; how wide it is to be at least, its own.
  width = float(root.attrib.pop('width').removesuffix('pt'))
  root.attrib.pop('height')
  root.set('style', f'--width: {width:.0f}')
  root.set('role', 'img')
  root.set('aria-labelledby', f'{prefix}-title')
  element = ElementTree.Element(
    f'{{{files.SPACE}}}title', {'id': f'{prefix}-title'}
  )
  element.text = title
  root.insert(0, element)
