"""Readers of single JDL values: JSON in, typed value out; ValueError says what was expected.

Numbers and booleans come as JSON values or as strings, as in the JDL files in use.
"""

from __future__ import annotations

import re

from cigri.core import shell, walltime
from cigri.core.walltime import Walltime

LARGEST = 2**31 - 1
OAR_TYPE = re.compile(r"timesharing=[^,]*,[^,]*|[^,]+")  # only timesharing=user,name has a comma in it


def text(value: object) -> str:
    """A line of text."""
    if not isinstance(value, str):
        raise ValueError("must be a string")
    found = value.strip()
    fault = character_fault(found)
    if fault:
        raise ValueError(fault)
    return found


def character_fault(found: str) -> str | None:
    if re.search(r"[\x00-\x08\n-\x1f\x7f]", found):
        return "has a line break or a control character"
    if re.search(r"[\ud800-\udfff]", found):
        return "has half of a surrogate pair"
    return None


def filled(value: object) -> str:
    found = text(value)
    if not found:
        raise ValueError("must not be empty")
    return found


def campaign_name(value: object) -> str:
    found = filled(str(value) if type(value) is int else value)
    if len(found) > 255:
        raise ValueError("must not be longer than 255 characters")
    return found


def truth(value: object) -> bool:
    if isinstance(value, bool):
        return value
    word = str(value).strip().lower() if isinstance(value, (str, int)) else None
    if word in ("true", "yes", "1"):
        return True
    if word in ("false", "no", "0", "none", ""):
        return False
    raise ValueError("must be true or false")


def most(value: object) -> int | None:
    """A limit, a whole number of 1 or more; none for no limit."""
    if isinstance(value, str) and value.strip().lower() in ("", "none"):
        return None
    digits = str(value).strip() if isinstance(value, (int, str)) and not isinstance(value, bool) else ""
    if re.fullmatch(r"[0-9]{1,10}", digits, re.ASCII) and 1 <= int(digits) <= LARGEST:
        return int(digits)
    raise ValueError("must be a whole number of 1 or more")


def count(value: object) -> int:
    """A whole number of 0 or more."""
    digits = str(value).strip() if isinstance(value, (int, str)) and not isinstance(value, bool) else ""
    if re.fullmatch(r"[0-9]{1,4}", digits, re.ASCII):
        return int(digits)
    raise ValueError("must be a whole number from 0 to 9999")


def weight(value: object) -> float:
    """A weight, from 0.01 to 100."""
    digits = str(value).strip() if isinstance(value, (int, float, str)) and not isinstance(value, bool) else ""
    if re.fullmatch(r"[0-9]{1,3}(\.[0-9]{1,6})?", digits, re.ASCII) and 0.01 <= float(digits) <= 100:
        return float(digits)
    raise ValueError("must be a number from 0.01 to 100")


def exit_codes(value: object) -> tuple[int, ...]:
    """An array of exit codes, 1 to 255."""
    if isinstance(value, str):
        value = value.replace(",", " ").split()
    if not isinstance(value, list):
        raise ValueError("must be an array of exit codes: [1, 75]")
    codes = [str(code).strip() for code in value if not isinstance(code, bool)]
    if len(codes) != len(value) or not all(re.fullmatch(r"[0-9]{1,3}", code, re.ASCII) for code in codes):
        raise ValueError("must be an array of exit codes: [1, 75]")
    found = tuple(dict.fromkeys(int(code) for code in codes))
    if not all(1 <= code <= 255 for code in found):
        raise ValueError("must be exit codes from 1 to 255")
    return found


def none_or_text(value: object) -> str:
    """ "None", as the original wrote it, or a text."""
    found = text(value)
    return "None" if found.lower() in ("", "none") else found


def duration(value: object) -> Walltime:
    if isinstance(value, bool) or not isinstance(value, (int, str)):
        raise ValueError("must be a string h, h:mm or h:mm:ss")
    return walltime.parse(str(value))


def duration_or_none(value: object) -> Walltime | None:
    return None if value == "" else duration(value)


def shell_lines(value: object) -> tuple[str, ...]:
    """Lines of a prologue or epilogue."""
    if value == "":
        return ()
    if not isinstance(value, list):
        raise ValueError("must be an array of strings, one per line of shell")
    return tuple(text(line) for line in value)


def exec_file(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError("must be a string: a command")
    found = value.strip()
    fault = shell.check_exec_file(found)
    if fault:
        raise ValueError(fault)
    return found


def directory(value: object) -> str:
    """A path on the cluster; of variables only $HOME is known, since clusters do not expand others."""
    found = re.sub(r"\A\$\{HOME\}(?=/|\Z)", "$HOME", filled(value))
    if re.search(r"[\"'`\\]", found):
        raise ValueError("must be a path without quotes and backslashes")
    if "$" in re.sub(r"\A\$HOME(?![A-Za-z0-9_])", "", found):
        raise ValueError("must be a path; only $HOME at its beginning is expanded there")
    return found


def resources(value: object) -> str:
    found = filled(value)
    if re.search(r"\bwalltime\s*=", found):
        raise ValueError("must not have a walltime in it: walltime is a setting of its own")
    return found


def campaign_type(value: object) -> str:
    word = text(value).lower()
    if word in ("best-effort", "besteffort", "best_effort"):
        return "best-effort"
    if word == "normal":
        return word
    if word in ("semi-best-effort", "nightly"):
        raise ValueError(f"{word} does not exist here, nor did it ever work; use best-effort")
    raise ValueError("must be best-effort or normal")


def oar_types(value: object) -> tuple[str, ...]:
    """OAR types between commas."""
    if isinstance(value, list):
        value = ",".join(text(word) for word in value)
    words = [word.strip() for word in OAR_TYPE.findall(text(value))]
    found = list(dict.fromkeys(word for word in words if word))
    for word in found:
        if word.partition("=")[0] == "idempotent":
            raise ValueError("idempotent is refused: trying again is the grid's work, doubled it would go wrong")
        if not re.fullmatch(r"[A-Za-z0-9_.:=/*,@+-]+", word, re.ASCII):
            raise ValueError(f'must be OAR types between commas, which "{word}" is not')
    return tuple(found)


def jobs_type(value: object) -> str:
    word = text(value).lower()
    if word == "normal":
        return word
    if word == "desktop_computing":
        raise ValueError("desktop_computing does not exist here, nor did it ever work; leave it out")
    raise ValueError("must be normal")
