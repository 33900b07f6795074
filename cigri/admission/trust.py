"""Files that nobody but root and this process's own user can have written."""

from __future__ import annotations

import os
import stat
from pathlib import Path


class Untrusted(Exception):
    """The file is not to be believed; the message says why, and what to type."""


def check_folder(folder: Path) -> None:
    """Raise Untrusted unless only root or our own user can change what is in the folder.

    All folders above count too, since whoever can rename one of them can put another in its place. OSError when it
    is not there.
    """
    for place in (folder, *folder.parents):
        state = place.stat()
        if not stat.S_ISDIR(state.st_mode):
            raise Untrusted(f"{place} is not a directory")
        # In a folder with the sticky bit nobody renames or removes what is somebody else's.
        _check(state, place, sticky=place != folder and bool(state.st_mode & stat.S_ISVTX))


def read(path: Path) -> bytes:
    """What is in the file. Raises Untrusted unless only root or our own user can write it, and OSError.

    What was checked is what is read: a file put in its place meanwhile, or a link, is not followed.
    """
    try:
        number = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        if path.is_symlink():
            raise Untrusted(f"{path} is a symbolic link: put the file itself there") from error
        raise
    with open(number, "rb") as file:
        state = os.fstat(number)
        if not stat.S_ISREG(state.st_mode):
            raise Untrusted(f"{path} is not a regular file")
        _check(state, path)
        return file.read()


def _check(state: os.stat_result, path: Path, *, sticky: bool = False) -> None:
    if state.st_uid not in (0, os.geteuid()):
        raise Untrusted(f"{path} belongs to uid {state.st_uid}: chown root {path}")
    if not sticky and state.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise Untrusted(f"{path} can be written by others than its owner: chmod go-w {path}")
