"""From a task's line to the command that a cluster runs, and back to the task's key.

A task is what `bash -c "EXEC_FILE LINE"` does on the node, save that a `#` at the beginning of LINE is a
character of a word. The whole command of a job is

    export CIGRI_CAMPAIGN_ID=7 CIGRI_JOB_ID=123; EXEC_FILE LINE

of which the batch scheduler gets the first two words as the array's command, and the rest as a line of
its parameter file. On that way OAR2 cuts lines at `#`, OAR3 halves backslashes and dies of `\\'` and of a
backslash at the end; neither is known to keep control characters or accents. What holds anything but plain
ASCII without those travels encoded.
"""

from __future__ import annotations

import base64
import re

LONGEST = 65536  # bytes of a line, and of a command: encoded they stay below what the kernel takes as one
LONGEST_COMMAND = 16384  # argument (128 K)

# Needs no closer look: no quote is open, nothing is a comment, an operator or a control character.
# No possessive quantifiers: those of Python 3.11.2, which Debian 12 has, match what they must not.
EASY_LINE = re.compile(r"""[^\x00-\x08\n-\x1f"#$&'();<>\\`|\ud800-\udfff]*""")
RUN = re.compile(r"""[^"#$&'();<>\\`|{} \t]+""")  # characters that stand for themselves
OPERATOR = re.compile(r"&&|&>>?|&|\|[|&]?|>[>&|]?|<[>&]?")
PLAIN = re.compile(r"[ -\[\]-~]*[!-\[\]-~]")  # printable ASCII but the backslash, no blank at the end
KEYED = re.compile(r"export CIGRI_CAMPAIGN_ID=([1-9][0-9]{0,18}) CIGRI_JOB_ID=([1-9][0-9]{0,18});", re.ASCII)


def check_line(line: str) -> str | None:
    """What makes this line impossible as a task's, or None. Only what bash surely refuses is a fault."""
    if len(line) < LONGEST // 4 and EASY_LINE.fullmatch(line):
        return None
    fault = check_text(line)
    if fault is None:
        stripped = line.lstrip(" \t")
        fault = Syntax(stripped, last=True).fault()
    return fault


def check_exec_file(command: str) -> str | None:
    """What makes this impossible as the command before every line, or None."""
    if not command.strip():
        return "is empty"
    fault = check_text(command, LONGEST_COMMAND)
    if fault is None:
        syntax = Syntax(command, last=False)
        fault = syntax.fault()
        if fault is None and syntax.commented:
            fault = "has a comment: the parameters would become part of it"
    return fault


def check_text(text: str, longest: int = LONGEST) -> str | None:
    """Faults of the characters alone."""
    if "\0" in text:
        return "has a NUL character"
    if "\n" in text:
        return "has a line break inside"
    try:
        size = len(text.encode())
    except UnicodeEncodeError as error:
        return f"has half of a surrogate pair at character {error.start + 1}"
    if size > longest:
        return f"is {size} bytes long, more than {longest}: put it in a file on the cluster"
    return None


class OpenEnd(Exception):
    """The text ends inside something."""


class Unsure(Exception):
    """Only a real shell could tell."""


class Syntax:
    """A walk through a piece of bash that finds what is opened and never closed.

    Doubtful cases are left to bash: they come back with its own message from the node.
    """

    def __init__(self, text: str, *, last: bool) -> None:
        self.text, self.last = text, last  # `last`: this is what stands behind exec_file
        self.at = 1 if last and text.startswith("#") else 0
        self.commented = False
        self.wants: str | None = None  # the operator that still wants something after it

    def fault(self) -> str | None:
        if "<<" in self.text or re.search(r"\bcase\b", self.text):
            return None  # here documents, and brackets that close nothing
        try:
            self.command(closer="")
        except OpenEnd as error:
            return str(error)
        except Unsure:
            return None
        return f"ends with {self.wants}" if self.wants and self.last else None

    def command(self, closer: str) -> None:
        """Walk to the closing bracket of $( or, without one, to the end."""
        depth = 0
        while self.at < len(self.text):
            char = self.text[self.at]
            if char == "#" and self.begins_word():
                self.at, self.commented = len(self.text), True
            elif char == ")" and closer and depth == 0:
                self.at += 1
                return
            elif char in "()":
                depth += 1 if char == "(" else -1 if depth else 0
                self.step(wants=None)
            elif char in "|<>&":
                self.operator(top=not closer)
            elif char in " \t":
                self.at += 1
            else:
                self.wants = None
                self.word_part(char)
        if closer:
            raise OpenEnd("has a $( without its )")

    def step(self, wants: str | None) -> None:
        self.wants = wants
        self.at += 1

    def begins_word(self) -> bool:
        return self.at == 0 or self.text[self.at - 1] in " \t;|&()<>"

    def operator(self, *, top: bool) -> None:
        match = OPERATOR.match(self.text, self.at)
        assert match
        self.at = match.end()
        self.wants = match[0] if top and match[0] != "&" else None

    def word_part(self, char: str) -> None:
        if char == "'":
            self.single()
        elif char == "$" and self.text.startswith("$'", self.at):
            self.ansi()
        else:
            self.expandable(char, quoted=False)

    def expandable(self, char: str, *, quoted: bool) -> None:
        """One character, or what it opens; the same in double quotes and outside but for these quotes."""
        if char == "\\":
            self.at += 2
            if self.at > len(self.text):
                raise OpenEnd("ends with a backslash")
        elif char == '"' and not quoted:
            self.double()
        elif char == "`":
            self.backquoted()
        elif self.text.startswith("$$", self.at):  # a process id: the second $ begins nothing
            self.at += 2
        elif self.text.startswith("$(", self.at):
            wants, self.at = self.wants, self.at + 2
            self.command(closer=")")
            self.wants = wants
        elif self.text.startswith("${", self.at):
            self.braced(quoted=quoted)
        else:
            run = RUN.match(self.text, self.at)
            self.at = run.end() if run else self.at + 1

    def single(self) -> None:
        end = self.text.find("'", self.at + 1)
        if end < 0:
            raise OpenEnd("has a ' without its partner")
        self.at = end + 1

    def ansi(self) -> None:
        self.at += 2
        while self.at < len(self.text):
            if self.text[self.at] == "'":
                self.at += 1
                return
            self.at += 2 if self.text[self.at] == "\\" else 1
        raise OpenEnd("has a $' without its partner")

    def double(self) -> None:
        self.at += 1
        while self.at < len(self.text):
            if self.text[self.at] == '"':
                self.at += 1
                return
            self.expandable(self.text[self.at], quoted=True)
        raise OpenEnd('has a " without its partner')

    def backquoted(self) -> None:
        self.at += 1
        while self.at < len(self.text):
            if self.text[self.at] == "`":
                self.at += 1
                return
            self.at += 2 if self.text[self.at] == "\\" else 1
        raise OpenEnd("has a ` without its partner")

    def braced(self, *, quoted: bool) -> None:
        self.at += 2
        while self.at < len(self.text):
            char = self.text[self.at]
            if char == "}":
                self.at += 1
                return
            if char in "'\"" and quoted:
                raise Unsure  # a quote or a character, depending on what stands before it
            self.word_part(char)
        raise OpenEnd("has a ${ without its }")


def script(exec_file: str, line: str) -> str:
    """What bash runs for a task."""
    stripped = line.lstrip(" \t")
    if stripped.startswith("#"):
        line = "\\" + stripped
    return f"{exec_file} {line}" if stripped else exec_file


def command_line(key: int, exec_file: str, line: str) -> str:
    """The line of the parameter file that makes job `key` run the task, whatever happens to lines there."""
    command = script(exec_file, line)
    if "#" not in command and PLAIN.fullmatch(command):
        return f"CIGRI_JOB_ID={key}; {command}"
    code = base64.b64encode(command.encode()).decode("ascii")
    # If decoding fails the job must fail: bash -c of nothing would be a success.
    decoded = f"CIGRI_LINE=$(echo {code}|base64 -d)"
    return f'CIGRI_JOB_ID={key}; {decoded} && bash -c "${{CIGRI_LINE:?}}"'


def array_command(campaign_id: int) -> str:
    """The command of an array, to which the scheduler appends a blank and one line per job."""
    return f"export CIGRI_CAMPAIGN_ID={campaign_id}"


def job_key(command: str) -> int | None:
    """The key in a command that a cluster reports, or None if the command is not one of a grid's."""
    match = KEYED.match(command)
    return int(match[2]) if match else None


def campaign_of(command: str) -> int | None:
    """The campaign in a command that a cluster reports, or None if the command is not one of a grid's."""
    match = KEYED.match(command)
    return int(match[1]) if match else None


def expand_macro(text: str, name: str, value: str) -> str:
    """Every `{NAME}` as the value; one directly after `$` is the shell's own."""
    return re.sub(rf"(?<!\$)\{{{name}\}}", lambda _: value, text)


def expand_home(text: str) -> str:
    """`{HOME}`, and `~` where the text begins with it, as `$HOME`."""
    return re.sub(r"\A~(?=/|\s|\Z)", "$HOME", expand_macro(text, "HOME", "$HOME"))


def expand_macros(text: str, campaign_id: int) -> str:
    """The text of a setting as it is sent to a cluster."""
    return expand_macro(expand_home(text), "CAMPAIGN_ID", str(campaign_id))
