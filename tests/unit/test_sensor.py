"""What may be a load sensor, and which number in its answer is the load."""

from __future__ import annotations

import pytest

from cigri.core.sensor import Command, NoLoad, NotASensor, Url, load, parse


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("/usr/local/bin/nfs-load", Command(("/usr/local/bin/nfs-load",))),
        ("/bin/load --of 'file server' $HOME", Command(("/bin/load", "--of", "file server", "$HOME"))),
        ("/bin/load http://x/", Command(("/bin/load", "http://x/"))),
        ("https://server.example/load?of=nfs", Url("https://server.example/load?of=nfs")),
        ("http://[::1]:8080/", Url("http://[::1]:8080/")),
    ],
)
def test_commands_and_urls(text, found):
    assert parse(text) == found


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "absolute path"),
        ("nfs-load", "absolute path"),
        ("cat /proc/loadavg", "absolute path"),
        ("/bin/echo 'open", "no closing quotation"),
        ("/bin/a\n/bin/b", "one line"),
        ("ftp://server/load", "http"),
        ("file:///etc/passwd", "http"),
        ("http:///load", "http"),
        ("http://server/a b", "without blanks"),
        ("http://server:99999/", "no URL"),
        ("http://root:secret@server/", "no password"),
    ],
)
def test_what_is_neither_is_refused_with_a_sentence(text, told):
    with pytest.raises(NotASensor, match=told):
        parse(text)


@pytest.mark.parametrize(
    ("said", "value"),
    [
        ("3\n", 3.0),
        ("0.52 0.48 0.40 2/345 6789\n", 0.52),
        ("load average: 1.25, 1.00\n", 1.25),
        ("nfs4 is at .5e1 %", 5.0),
        ("GLOBAL_STRESS=0.8", 0.8),
        ('{"load": 12}', 12.0),
        ("+7", 7.0),
    ],
)
def test_the_first_number_counts(said, value):
    assert load(said) == value


@pytest.mark.parametrize("said", ["", "none", "nfs4", "-1", "1e999", "nan"])
def test_what_is_no_load(said):
    with pytest.raises(NoLoad):
        load(said)
