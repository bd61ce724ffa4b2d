"""The one exception a user is meant to see."""


class UserError(Exception):
    """Something the user can put right: the message is one line that names the file, row or key and says what to do."""
