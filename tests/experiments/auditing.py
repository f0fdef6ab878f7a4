"""What Python tells of what it does, while somebody listens."""

import contextlib
import os
import sys

# What would run a stranger's code, or ask others for something.
RUNS = {
  *('pickle.find_class', 'marshal.loads', 'os.system', 'os.exec', 'os.spawn'),
  *('os.posix_spawn', 'subprocess.Popen', 'code.__new__', 'webbrowser.open'),
}
ASKS = {
  *('socket.connect', 'socket.getaddrinfo', 'socket.gethostbyname'),
  *('urllib.Request', 'http.client.connect', 'ftplib.connect'),
}
_CHANGES = {'os.rename', 'os.remove', 'os.mkdir', 'os.rmdir', 'os.symlink'}
_listening: list[tuple[str, str]] | None = None
_installed = False


@contextlib.contextmanager
def heard():
  """Collects what happens: of an event that matters, its name and on what."""
  global _listening, _installed
  if not _installed:
    sys.addaudithook(_hook)  # It cannot be removed, and stays silent.
    _installed = True
  _listening = []
  try:
    yield _listening
  finally:
    _listening = None


def written(events):
  """The paths that were opened for writing, moved, made or removed."""
  return {what for name, what in events if name == 'write' or name in _CHANGES}


def _hook(event, arguments):
  if _listening is None:
    return
  if event in RUNS | ASKS | _CHANGES:
    _listening.append((event, str(arguments[0])))
  elif event == 'open' and (arguments[2] or 0) & (os.O_WRONLY | os.O_RDWR):
    _listening.append(('write', str(arguments[0])))
