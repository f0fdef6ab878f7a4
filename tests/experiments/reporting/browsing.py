"""A real browser that looks at pages, where there is one."""

import contextlib
import json
import shutil

import pytest

CHROMIUM, DRIVER = (shutil.which(x) for x in ('chromium', 'chromedriver'))
needed = pytest.mark.skipif(
  CHROMIUM is None or DRIVER is None,
  reason='needs Debian’s packages chromium and chromium-driver',
)
_FLAGS = (
  *('--headless', '--no-sandbox', '--disable-gpu', '--disable-quic'),
  *('--no-first-run', '--disable-background-networking'),
  *('--disable-component-update', '--disable-sync'),
  # /dev/shm is small in containers.
  '--disable-dev-shm-usage',
)
_LOADED = "return document.readyState === 'complete' && !!document.querySelector('main')"  # noqa: E501


class Page:
  """A page that is open."""

  def __init__(self, driver, path):
    self.driver, self.address = driver, path.as_uri()

  def open(self, width=1280, height=900, **media):
    """Opens it anew in a window of that size, with some media features."""
    self._command(
      'Emulation.setDeviceMetricsOverride',
      width=width,
      height=height,
      deviceScaleFactor=1,
      mobile=width < 500,
    )
    features = [
      {'name': name.replace('_', '-'), 'value': value}
      for name, value in media.items()
      if name != 'media'
    ]
    self._command(
      'Emulation.setEmulatedMedia',
      features=features,
      media=media.get('media', ''),
    )
    from selenium.webdriver.support import wait

    # A busy machine may still show the page as it was.
    self.driver.get('about:blank')
    self.driver.get(self.address)
    wait.WebDriverWait(self.driver, 30).until(lambda _: self.run(_LOADED))
    return self

  def _command(self, name, **arguments):
    self.driver.execute_cdp_cmd(name, arguments)

  def run(self, script, *arguments):
    """What JavaScript returns."""
    return self.driver.execute_script(script, *arguments)

  def console(self):
    """What the browser complained of."""
    return self.driver.get_log('browser')

  def requests(self):
    """The addresses that the page asked for, since the last time.

    The browser has pages of its own.
    """
    messages = [
      json.loads(entry['message'])['message']
      for entry in self.driver.get_log('performance')
    ]
    return [
      each['params']['request']['url']
      for each in messages
      if each['method'] == 'Network.requestWillBeSent'
      and each['params']['documentURL'] == self.address
    ]


@contextlib.contextmanager
def page(path, profile):
  """Opens a browser for a page.

  Args:
    path: of the HTML.
    profile: a folder for what the browser keeps; it is new.
  """
  from selenium import webdriver
  from selenium.webdriver.chrome.service import Service

  options = webdriver.ChromeOptions()
  options.binary_location = CHROMIUM
  for flag in (*_FLAGS, f'--user-data-dir={profile}'):
    options.add_argument(flag)
  options.set_capability(
    'goog:loggingPrefs', {'browser': 'ALL', 'performance': 'ALL'}
  )
  driver = webdriver.Chrome(options=options, service=Service(DRIVER))
  try:
    yield Page(driver, path)
  finally:
    driver.quit()
