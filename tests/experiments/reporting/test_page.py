"""The page of a report, in a real browser."""

import base64

import pytest

from experiments.reporting import report
from experiments.studies import loading
from tests.experiments.reporting import browsing
from tests.experiments.reporting import directories

pytestmark = [pytest.mark.slow, browsing.needed]

ARMS = ('full', 'gradient_only', 'unit_mean', 'adam', 'adamw', 'm_svag')
NAMES = "return [...document.querySelectorAll('table')[0].tBodies[0].rows].map(r => r.cells[0].textContent)"  # noqa: E501
SORTED = "return [...document.querySelectorAll('table')[0].tHead.rows[0].cells].map(c => c.getAttribute('aria-sort'))"  # noqa: E501
WIDER = """
return [...document.querySelectorAll('body *')].filter(each => {
  const right = each.getBoundingClientRect().right;
  return right > innerWidth + 1 && !each.closest('.scroll, .skip');
}).map(each => each.outerHTML.slice(0, 100))
"""


@pytest.fixture(scope='module')
def page(tmp_path_factory):
  path = tmp_path_factory.mktemp('page') / 'study'
  directories.write(
    path, arms=ARMS, seeds=3, diverged=['m_svag'], missing=['adam']
  )
  report.write(report.make(loading.load(path)), path)
  profile = tmp_path_factory.mktemp('profile')
  with browsing.page(path / 'report.html', profile) as found:
    yield found


def button(page, index):
  return page.run(
    "return document.querySelectorAll('table')[0]"
    '.tHead.rows[0].cells[arguments[0]].firstElementChild',
    index,
  )


def test_a_click_sorts(page):
  page.open()
  before = page.run(NAMES)
  button(page, 0).click()
  assert page.run(NAMES) == sorted(before)
  assert page.run(SORTED)[0] == 'ascending'
  button(page, 0).click()
  assert page.run(NAMES) == sorted(before, reverse=True)
  assert page.run(SORTED)[0] == 'descending'
  # Numbers begin with the largest, and are no text.
  button(page, 1).click()
  assert page.run(NAMES) == before
  assert page.run(NAMES)[-1] == 'm_svag'
  assert page.run(SORTED)[:2] == [None, 'descending']
  # What has no difference, the reference itself, is last in either order.
  for _ in range(2):
    button(page, 4).click()
    assert page.run(NAMES)[-1] == 'adamw'
  assert page.run(NAMES)[0] == 'm_svag'


def test_the_keyboard_sorts(page):
  from selenium.webdriver import ActionChains
  from selenium.webdriver.common.keys import Keys

  page.open()
  before = page.run(NAMES)
  for _ in range(60):
    ActionChains(page.driver).send_keys(Keys.TAB).perform()
    if page.run("return document.activeElement.tagName === 'BUTTON'"):
      break
  assert page.run('return document.activeElement.textContent') == 'arm'
  outline = 'return getComputedStyle(document.activeElement).outlineStyle'
  assert page.run(outline) == 'solid'
  ActionChains(page.driver).send_keys(Keys.ENTER).perform()
  assert page.run(NAMES) == sorted(before)
  ActionChains(page.driver).send_keys(Keys.SPACE).perform()
  assert page.run(NAMES) == sorted(before, reverse=True)


def test_nothing_is_wider_than_the_screen(page):
  for width in (390, 1280):
    page.open(width)
    page.run("document.querySelectorAll('details').forEach(x => x.open = true)")
    assert page.run(WIDER) == []
    assert page.run('return document.documentElement.scrollWidth <= innerWidth')
    # What is wide scrolls by itself, also with the keyboard.
    assert page.run(
      "return [...document.querySelectorAll('.scroll')]"
      '.every(x => x.tabIndex === 0 && x.clientWidth <= innerWidth)'
    )


def test_light_and_dark_can_be_read(page):
  colours = (
    'const style = getComputedStyle(document.body);'
    'return [style.backgroundColor, style.color].map('
    r'x => x.match(/\d+/g).slice(0, 3).map(Number))'
  )
  for scheme in ('light', 'dark'):
    page.open(prefers_color_scheme=scheme)
    bright, dull = sorted(page.run(colours), reverse=True)
    assert page.run(colours)[0] == (bright if scheme == 'light' else dull)
    # A contrast above 7, the highest level of the W3C's guidelines.
    assert min(bright) > 200
    assert max(dull) < 40
    card = "return getComputedStyle(document.querySelector('figure'))"
    assert page.run(f'{card}.backgroundColor') == 'rgb(255, 255, 255)'


def test_all_of_it_is_printed_and_fits_on_paper(page):
  page.open()
  folded = "return document.querySelectorAll('details:not([open])').length"
  assert page.run(folded) > 0
  found = page.driver.print_page()
  assert base64.b64decode(found).startswith(b'%PDF')
  assert page.run(folded) == 0
  page.open(720, media='print')  # As wide as A4, about.
  assert page.run('return document.documentElement.scrollWidth') <= 720
  display = "return getComputedStyle(document.querySelector('nav')).display"
  assert page.run(display) == 'none'


def test_every_picture_has_a_name_and_every_identifier_is_one(page):
  page.open()
  unnamed = """
  return [...document.querySelectorAll('svg')].filter(each => {
    const title = document.getElementById(each.getAttribute('aria-labelledby'));
    return each.getAttribute('role') !== 'img' || !title.textContent;
  }).length"""
  assert page.run(unnamed) == 0
  assert page.run("return document.querySelectorAll('svg').length") > 10
  twice = """
  const all = [...document.querySelectorAll('[id]')].map(x => x.id);
  return all.filter((x, i) => all.indexOf(x) !== i)"""
  assert page.run(twice) == []
  dangling = """
  return [...document.querySelectorAll('use')].map(
    x => x.getAttribute('xlink:href')).filter(
    x => !document.getElementById(x.slice(1)))"""
  assert page.run(dangling) == []
  assert page.run('return document.documentElement.lang') == 'en'
