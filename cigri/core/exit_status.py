"""The raw wait status of a job, as clusters report it, in numbers and in words."""

from __future__ import annotations

import signal

HINTS = {
    126: "the command was found but cannot be executed: is it chmod +x?",
    127: "command not found: does exec_file exist on the cluster?",
}
CAUSES = {
    signal.SIGKILL: "often out of memory",
    signal.SIGSEGV: "a fault of the program",
    signal.SIGBUS: "a fault of the program, or a disk that is full",
    signal.SIGABRT: "the program gave up by itself",
    signal.SIGFPE: "a division by zero or the like",
    signal.SIGILL: "built for another processor?",
    signal.SIGXCPU: "over the limit of processor time",
    signal.SIGXFSZ: "over the limit of file size",
}


def exit_code(status: int) -> int | None:
    """The command's exit code, or None if a signal ended it."""
    return status >> 8 & 0xFF if status & 0x7F == 0 else None


def ending_signal(status: int) -> int | None:
    """The signal that ended the command, or None if it exited."""
    return status & 0x7F or None


def describe(status: int | None) -> str:
    """One clause for users: "exit code 1", "killed by signal 9 (SIGKILL, often out of memory)"."""
    if status is None:
        return "no exit status known"
    number = ending_signal(status)
    if number is not None:
        return f"killed by {signal_words(number)}" + (", core dumped" if status & 0x80 else "")
    code = status >> 8 & 0xFF
    if code in HINTS:
        return f"exit code {code} ({HINTS[code]})"
    if 128 < code < 128 + signal.NSIG:  # what a shell makes of a killed child
        return f"exit code {code} (its last command was killed by {signal_words(code - 128)})"
    return f"exit code {code}"


def signal_words(number: int) -> str:
    try:
        known = signal.Signals(number)
    except ValueError:
        return f"signal {number}"
    cause = CAUSES.get(known)
    return f"signal {number} ({known.name}, {cause})" if cause else f"signal {number} ({known.name})"
