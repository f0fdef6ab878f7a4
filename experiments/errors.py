"""What a user did wrong, in a sentence; every program ends on it alike."""


class UserError(Exception):
  """The message is one sentence that says what to do; no traceback is shown."""


class InvalidValueError(UserError, ValueError):
  """A value that cannot be, by name, with what is allowed."""
