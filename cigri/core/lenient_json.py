"""JSON as campaign descriptions in use are written.

`//` and `/* */` comments are skipped, an unknown escape `\\x` reads as `x`, and of a repeated key the
last wins, with a warning. Everything else is JSON: NaN and Infinity are not, nor are commas before a closing
bracket.
"""

from __future__ import annotations

import json
import re
from bisect import bisect_right
from typing import Any, NoReturn

from cigri.errors import Fault, InvalidJDL

TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|//[^\n]*|/\*.*?\*/', re.DOTALL)
UNKNOWN_ESCAPE = re.compile(r'\\(?:(["\\/bfnrt]|u[0-9A-Fa-f]{4})|(.))', re.DOTALL)


def loads(text: str) -> tuple[Any, list[str]]:
    """The value, and a warning for each repeated key. Raises InvalidJDL naming line and column."""
    warnings: list[str] = []

    def without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) < len(pairs):
            keys = [key for key, _ in pairs]
            repeated = sorted({key for key in keys if keys.count(key) > 1})
            warnings.extend(f'"{key}" stands here several times: the last one counts' for key in repeated)
        return found

    text = text.removeprefix("\ufeff")
    try:
        return json.loads(text, object_pairs_hook=without_repeats, parse_constant=refuse_constant), warnings
    except json.JSONDecodeError:
        warnings.clear()
    except (ValueError, RecursionError) as error:
        refuse(text, 0, odd(error))
    plain, removed = strict(text)
    try:
        return json.loads(plain, object_pairs_hook=without_repeats, parse_constant=refuse_constant), warnings
    except json.JSONDecodeError as error:
        refuse(text, error.pos + bisect_right(removed, error.pos), meaning(error, plain))
    except (ValueError, RecursionError) as error:
        refuse(text, 0, odd(error))


def strict(text: str) -> tuple[str, list[int]]:
    """The text without the leniencies, and where in it a backslash was dropped (for positions)."""
    removed: list[int] = []

    def escape(start: int, match: re.Match[str]) -> str:
        if match[2] is None:
            return match[0]
        removed.append(start + match.start() - len(removed))
        return match[2]

    def token(match: re.Match[str]) -> str:
        if match[0].startswith("/"):
            return re.sub(r"[^\n]", " ", match[0])  # lines and columns stay what they were
        return UNKNOWN_ESCAPE.sub(lambda inner: escape(match.start(), inner), match[0])

    return TOKEN.sub(token, text), removed


def meaning(error: json.JSONDecodeError, text: str) -> str:
    """What is wrong, in words that help."""
    if re.search(r",\s*$", text[: error.pos]) and text[error.pos : error.pos + 1] in ("}", "]"):
        return "there is a comma too many before this bracket"
    if error.msg.startswith("Illegal trailing comma"):
        return "there is a comma too many here"
    if error.msg.startswith("Invalid control character"):
        return "a line ends or a control character stands inside a string"
    if error.pos >= len(text.rstrip()):
        return "the text ends too early: a quote or a bracket is not closed"
    return f"not JSON: {error.msg[0].lower()}{error.msg[1:]}"


def odd(error: Exception) -> str:
    return "brackets are nested too deeply" if isinstance(error, RecursionError) else str(error)


def refuse_constant(word: str) -> NoReturn:
    raise ValueError(f"{word} is no number of JSON")


def refuse(text: str, position: int, message: str) -> NoReturn:
    line = text.count("\n", 0, position) + 1
    column = position - (text.rfind("\n", 0, position) + 1) + 1
    raise InvalidJDL([Fault(f"line {line}, column {column}", message)])
