"""The one exception a user is meant to see, and what others say in one line."""

import errno

# How torch's allocator and its mapping of files, safetensors, CUDA's driver, cuBLAS and cuDNN spell it, in errors of
# general kinds.
REFUSED = (
    "can't allocate memory",
    "cannot allocate memory",
    f"(os error {errno.ENOMEM})",
    "out of memory",
    "_status_alloc_failed",
)


class UserError(Exception):
    """Something the user can put right: the message is one line that names the file, row or key and says what to do."""


def no_memory(error: BaseException) -> bool:
    """Whether ``error`` says that memory was refused, on the device or beside it, in whatever words a library has."""
    kinds = {kind.__name__ for kind in type(error).__mro__}  # by name: torch need not be imported
    return (
        bool(kinds & {"MemoryError", "OutOfMemoryError"})
        or getattr(error, "errno", None) == errno.ENOMEM
        or any(words in str(error).lower() for words in REFUSED)
    )


def one_line(error: BaseException) -> str:
    """What ``error`` says, at most 200 characters without line breaks and unprintable ones; its type if nothing."""
    words = " ".join(str(error).split()) or type(error).__name__
    return "".join(letter if letter.isprintable() else "?" for letter in words)[:200]
