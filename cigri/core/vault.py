"""Secrets at rest: sealed with a key from a file that only the grid's account can read.

Each sealed text is bound to what it is for: moved to another row of the database it does not open there.
Texts are kept out of reprs and messages; nothing here logs.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from pathlib import Path

from cryptography.fernet import Fernet, InvalidToken, MultiFernet

from cigri.errors import ConfigError

KEY_MODE = 0o600
LARGEST_KEY_FILE = 64 << 10
BOUND = "\0"


class Vault:
    """Seals and opens. The first key seals; every key opens, so that keys can be changed."""

    def __init__(self, keys: Sequence[str]) -> None:
        self._keys = MultiFernet([Fernet(key) for key in keys])

    def __repr__(self) -> str:
        return "Vault(...)"

    def seal(self, secret: str, purpose: str) -> str:
        """The secret, encrypted; it opens for this purpose only."""
        return self._keys.encrypt(f"{purpose}{BOUND}{secret}".encode()).decode()

    def open(self, sealed: str, purpose: str) -> str:
        """What was sealed. Raises ConfigError when it was sealed with another key, or for something else."""
        try:
            found, _, secret = self._keys.decrypt(sealed.encode()).decode().partition(BOUND)
        except (InvalidToken, UnicodeError):
            raise ConfigError(f"the {purpose} was sealed with a key that is not in the key file") from None
        if found != purpose:
            raise ConfigError(f"what is stored as the {purpose} was sealed for something else")
        return secret


def load(path: str) -> Vault:
    """The vault that a key file opens. Raises ConfigError, saying what to do, when the file cannot be used."""
    try:
        with open(os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK), "rb") as file:
            state = os.fstat(file.fileno())
            if not stat.S_ISREG(state.st_mode):
                raise ConfigError(f"the key file {path} is no plain file")
            if stat.S_IMODE(state.st_mode) & 0o077:
                raise ConfigError(f"the key file {path} can be read by others: chmod 600 {path}, then change the key")
            content = file.read(LARGEST_KEY_FILE)
    except FileNotFoundError:
        raise ConfigError(f"there is no key file {path}: `gridadmin key create` makes one") from None
    except OSError as error:
        raise ConfigError(f"the key file {path} cannot be read: {error.strerror}") from None
    try:
        keys = [line.strip() for line in content.decode("ascii").splitlines() if line.strip()]
        if not keys:
            raise ValueError
        return Vault(keys)
    except ValueError:
        raise ConfigError(f"the key file {path} has something in it that is no key") from None


def create_key_file(path: str) -> None:
    """Write a new key. Raises ConfigError when there is a file already: what was sealed would be lost with it."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    try:
        with open(os.open(path, flags, KEY_MODE), "wb") as file:
            os.fchmod(file.fileno(), KEY_MODE)
            file.write(Fernet.generate_key() + b"\n")
            file.flush()
            os.fsync(file.fileno())
    except FileExistsError:
        raise ConfigError(f"there is a file {path} already: what was sealed with it would be lost") from None
    except OSError as error:
        raise ConfigError(f"the key file {path} cannot be written: {error.strerror}") from None
    folder = os.open(Path(path).parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
