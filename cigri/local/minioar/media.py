"""Files of the user, as OAR3's /media shows and deletes them: absolute paths, no blanks, `$`, `,` or backquotes."""

from __future__ import annotations

import os
import re
import shutil
from collections import deque
from itertools import islice

from cigri.local.minioar.request import Refusal

UNREADABLE = re.compile(r"([ $,`])")


def _checked(path: str) -> str:
    """The path on this machine; OAR3 puts a slash before whatever it is given."""
    if "\x00" in path:
        raise Refusal(500)
    escaped = "/" + UNREADABLE.sub(r"\\\1", path)
    if UNREADABLE.search(path) or not os.path.lexists("/" + path):
        raise Refusal(404, f"File not found: {escaped}")
    return "/" + path


def read(path: str, tail: int) -> bytes:
    """A file's content, or its last lines."""
    place = _checked(path)
    if not os.path.isfile(place):
        raise Refusal(404, f"File not found: /{path}")
    try:
        with open(place, "rb") as file:
            if not tail:
                return file.read()
            return b"".join(islice(deque(file, maxlen=abs(tail)), abs(tail)))
    except OSError as error:
        raise Refusal(403, f"File could not be read: /{path}") from error


def delete(path: str) -> None:
    """Delete a file, or a directory with all that is in it."""
    place = _checked(path)
    try:
        if os.path.isdir(place) and not os.path.islink(place):
            shutil.rmtree(place)
        else:
            os.unlink(place)
    except OSError as error:
        raise Refusal(403, f"File or directory is not writeable: /{path}") from error
