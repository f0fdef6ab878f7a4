"""A report of a study whose every name is an attack, in a real browser."""

import csv
import json
import pathlib
import re
from xml.etree import ElementTree

import pytest

from experiments.reporting import report
from experiments.studies import loading
from tests.experiments.reporting import browsing
from tests.experiments.reporting import directories

pytestmark = pytest.mark.slow

CLICK = """
document.querySelectorAll('summary, button, a[href^="#"]').forEach(
  each => each.click())"""
# Each would set `hacked`, ask somebody for something, or break the page.
ATTACKS = (
  '<script>hacked=1</script>',
  '"><img src=x onerror=hacked=1>',
  "'><svg onload=hacked=1>",
  '</title></style></script><script>hacked=1</script>',
  ']]>|$x_{<iframe src=http://192.0.2.1/></iframe>',
  '<link rel=stylesheet href=//192.0.2.1/a.css>',
  '<a href=javascript:hacked=1>click</a>',
  '<meta http-equiv=refresh content=0;url=http://192.0.2.1/>',
  '<base href=http://192.0.2.1/><form action=//192.0.2.1>',
  '{{7*7}}{% raise %}{#',
  r'$\frac{1}{$ _x^ \input{/etc/passwd} %s {0}',
  '../../../../tmp/hacked',
  '&lt;b&gt;&#x3c;script&#x3e;hacked=1',
  '<!--><details open ontoggle=hacked=1>-->',
  '=cmd|"/c calc"!A1',
  'url(http://192.0.2.1/x) <style>@import "//192.0.2.1";',
)
_NAMES = (
  *('low_data', 'fashion_mnist_10', 'fashion_mnist_100', 'fashion_mnist'),
  *('full', 'gradient_only', 'mlp', 'default', 'head/kernel', 'weight_decay'),
  *('plasticity_scale', 'tuned', 'warmup_cosine'),
)
# The reference stays, by which arms are compared.
NAMES = dict(zip(_NAMES, ATTACKS, strict=False))
SHOWN = ('low_data', 'fashion_mnist_10', 'full', 'gradient_only', 'mlp')


def _hostile(value):
  """A value of JSON with all names in it replaced, keys too."""
  if isinstance(value, dict):
    return {_hostile(key): _hostile(each) for key, each in value.items()}
  if isinstance(value, list):
    return [_hostile(each) for each in value]
  if not isinstance(value, str):
    return value
  if value.startswith('{'):
    return json.dumps(_hostile(json.loads(value)))
  return NAMES.get(value, value)


def _spoil(path):
  text = json.loads((path / 'study.json').read_text())
  # Keys by which the study is read stay as they are.
  definition = text['definition']
  definition['study'] = NAMES['low_data']
  definition['conditions'] = _hostile(definition['conditions'])
  for name in ('arms', 'tuning', 'conditions'):
    text[name] = _hostile(text[name])
  text['provenance'][0].update(
    command=['python', f'--workdir={ATTACKS[1]}', f'--data_dir={ATTACKS[4]}'],
    commit=ATTACKS[0], versions={ATTACKS[2]: ATTACKS[3]},
    hardware={ATTACKS[5]: ATTACKS[6]}, start=ATTACKS[7],
  )  # fmt: skip
  text['end'] = ATTACKS[8]
  (path / 'study.json').write_text(json.dumps(text))
  for file in path.glob('*.csv'):
    header, *rows = csv.reader(file.read_text().splitlines())
    with file.open('w', newline='') as target:
      writer = csv.writer(target, lineterminator='\n')
      writer.writerow(header)
      writer.writerows([[_hostile(x) for x in row] for row in rows])


@pytest.fixture(scope='module')
def made(tmp_path_factory):
  # A slash ends a name; all else may stand in one.
  name = ATTACKS[1].replace('/', '')
  path = tmp_path_factory.mktemp('hostile') / name
  directories.write(path, arms=('full', 'gradient_only', 'adamw'), seeds=3)
  _spoil(path)
  found = report.make(loading.load(path))
  report.write(found, path)
  return path, found


@browsing.needed
def test_it_runs_nothing_asks_for_nothing_and_shows_all(made, tmp_path):
  path, _ = made
  with browsing.page(path / 'report.html', tmp_path / 'profile') as page:
    page.open()
    page.run(CLICK)
    assert page.run('return typeof hacked') == 'undefined'
    assert page.console() == []
    asked = {x for x in page.requests() if not x.startswith('data:')}
    assert {x.partition('#')[0] for x in asked} == {page.address}
    text = page.run('return document.body.textContent')
    for name in SHOWN:
      assert NAMES[name] in text, name
    for tag in ('img', 'iframe', 'form', 'base', 'object', 'embed'):
      assert page.run(f"return document.querySelectorAll('{tag}').length") == 0
    assert page.run("return document.querySelectorAll('script').length") == 1
    handlers = """
    return [...document.querySelectorAll('*')].filter(each =>
      [...each.attributes].some(x => x.name.startsWith('on') ||
        /^ *javascript:/i.test(x.value))).length"""
    assert page.run(handlers) == 0
    assert page.run('return document.title') == f'Study {NAMES["low_data"]}'


def test_its_files_lie_in_the_study_directory(made):
  path, found = made
  for name in found.files:
    relative = pathlib.PurePosixPath(name)
    assert not relative.is_absolute()
    assert '..' not in relative.parts
    assert (path / name).is_file()
  assert not pathlib.Path('/tmp/hacked').exists()


def test_names_are_text_in_pictures_and_in_markdown(made):
  _, found = made
  pictures = {k: x for k, x in found.files.items() if k.endswith('.svg')}
  for name, content in pictures.items():
    assert '<script' not in content
    texts = [*ElementTree.fromstring(content).itertext()]
    arms = 'full', 'gradient_only', 'adamw'
    assert any(NAMES.get(x, x) in text for x in arms for text in texts), name
  for name, content in found.files.items():
    if name.endswith('.md'):
      # The pipe of a name does not end its cell.
      for part in content.split('\n\n'):
        lines = [x for x in part.splitlines() if x.startswith('|')]
        assert len({len(re.findall(r'(?<!\\)\|', x)) for x in lines}) <= 1
  summary = found.files['tables/summary.md']
  assert r'| \]\]\>\|\$x\_{\<iframe src=http' in summary
