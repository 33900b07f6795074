"""Secrets at rest: sealed for one purpose, with a key that nobody else reads."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cigri.core import vault
from cigri.core.vault import Vault
from cigri.errors import ConfigError


@pytest.fixture
def key_file(tmp_path: Path) -> str:
    path = str(tmp_path / "token.key")
    vault.create_key_file(path)
    return path


def test_the_key_file_is_for_its_owner_alone_whatever_the_umask(tmp_path):
    before = os.umask(0)
    try:
        vault.create_key_file(str(tmp_path / "key"))
    finally:
        os.umask(before)
    assert stat.S_IMODE(os.stat(tmp_path / "key").st_mode) == 0o600


def test_a_key_file_is_never_overwritten(key_file):
    content = Path(key_file).read_bytes()
    with pytest.raises(ConfigError, match="already"):
        vault.create_key_file(key_file)
    assert Path(key_file).read_bytes() == content


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o666, 0o610])
def test_a_key_file_that_others_can_use_is_refused(key_file, mode):
    os.chmod(key_file, mode)
    with pytest.raises(ConfigError, match="chmod 600"):
        vault.load(key_file)


@pytest.mark.parametrize("content", [b"", b"\n\n", b"no key", b"\xff\xfe"])
def test_what_is_no_key_is_told_without_its_content(key_file, content):
    Path(key_file).write_bytes(content)
    with pytest.raises(ConfigError, match="no key") as caught:
        vault.load(key_file)
    assert "no key" not in str(caught.value).replace("is no key", "")


def test_a_key_file_that_is_not_there_says_what_to_type(tmp_path):
    with pytest.raises(ConfigError, match="gridadmin key create"):
        vault.load(str(tmp_path / "absent"))
    with pytest.raises(ConfigError, match="plain file"):
        os.mkfifo(tmp_path / "pipe", 0o600)
        vault.load(str(tmp_path / "pipe"))


KEY = "cJ0M0pXq1Wl2RAbT1TZ3bNfYB8pY6ZzXKp0T4E8Zb2k="


@given(st.text(), st.text(alphabet=st.characters(exclude_characters="\0", exclude_categories=["Cs"])))
def test_what_is_sealed_opens_for_its_purpose_only(secret, purpose):
    opened = Vault([KEY])
    secret = secret.encode("utf-8", "replace").decode()
    sealed = opened.seal(secret, purpose)
    assert opened.open(sealed, purpose) == secret
    with pytest.raises(ConfigError, match="something else"):
        opened.open(sealed, purpose + "x")


def test_keys_can_be_changed(tmp_path, key_file):
    sealed = vault.load(key_file).seal("secret", "a")
    other = str(tmp_path / "other")
    vault.create_key_file(other)
    with pytest.raises(ConfigError, match="another key|not in the key file"):
        vault.load(other).open(sealed, "a")
    both = Path(other)
    both.write_bytes(both.read_bytes() + Path(key_file).read_bytes())
    assert vault.load(other).open(sealed, "a") == "secret"
    assert "secret" not in repr(vault.load(other)) + sealed
