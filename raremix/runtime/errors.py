"""The one exception a user is meant to see, and what others say in one line."""


class UserError(Exception):
    """Something the user can put right: the message is one line that names the file, row or key and says what to do."""


def one_line(error: BaseException) -> str:
    """What ``error`` says, at most 200 characters without line breaks and unprintable ones; its type if nothing."""
    words = " ".join(str(error).split()) or type(error).__name__
    return "".join(letter if letter.isprintable() else "?" for letter in words)[:200]
