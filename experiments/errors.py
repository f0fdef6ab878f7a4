"""What a user is told in a sentence; every program ends on it alike."""


class UserError(Exception):
  """The message is one sentence that says what to do; no traceback is shown."""


class InvalidValueError(UserError, ValueError):
  """A value that cannot be, by name, with what is allowed."""


class StorageError(UserError):
  """The disk does not take what is written, or what lies on it is damaged."""
