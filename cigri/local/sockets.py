"""Short names for folders with Unix sockets: the name of a socket must be shorter than 108 bytes."""

from __future__ import annotations

import hashlib
import os
import tempfile
from pathlib import Path

from cigri.errors import CigriError

LIMIT = 107


def reachable(folder: Path, room: int) -> Path:
    """The folder, under a name that leaves `room` bytes for a socket's name and its slash.

    A folder with a long name is reached by a symbolic link in a private folder (0700) of the same user; the
    same folder gets the same link, so that all processes of a local grid use one.
    """
    if len(os.fsencode(folder)) + room <= LIMIT:
        return folder
    link = _short_name(folder)
    private = link.parent
    private.mkdir(mode=0o700, exist_ok=True)
    owner = private.lstat()
    if owner.st_uid != os.geteuid() or owner.st_mode & 0o077 or private.is_symlink():
        raise CigriError(f"{private} is not a private folder of ours: remove it, or choose a shorter --dir")
    if len(os.fsencode(link)) + room > LIMIT:
        raise CigriError(f"{folder} and {private} are both too long for a Unix socket")
    if not link.is_symlink():
        link.symlink_to(folder)
    return link


def forget(folder: Path) -> None:
    """Remove the short name of the folder, if it has one."""
    _short_name(folder).unlink(missing_ok=True)


def _short_name(folder: Path) -> Path:
    name = hashlib.sha256(os.fsencode(folder)).hexdigest()[:16]
    return Path(tempfile.gettempdir()) / f"cigri-{os.geteuid()}" / name
