"""What a set-up says: how far it is, and in one sentence why it cannot go on."""

from __future__ import annotations

import sys
from contextlib import suppress
from typing import NoReturn


class SetupError(Exception):
    """A set-up that cannot go on: a token, one sentence, and what to do next."""

    def __init__(self, code: str, message: str, hint: str) -> None:
        super().__init__(message)
        self.code, self.message, self.hint = code, message, hint


def say(line: str) -> None:
    """Show progress; stdout belongs to the command."""
    if sys.stderr is not None:  # pythonw has none
        with suppress(OSError):  # the terminal may be gone, and we about to clean up for that
            print(line, file=sys.stderr, flush=True)


def first_error(lines: list[str]) -> str:
    """Pick from the output of pip or uv what a person wants to read."""
    retries = [line for line in lines if "connection broken by" in line]
    if retries:  # pip's errors then say that no such package exists
        return f"no connection ({retries[-1].partition('connection broken by ')[2][:200]})"
    errors = [line[7:] for line in lines if line.lower().startswith("error: ")]
    causes = [line.strip()[7:] for line in lines if line.strip().startswith("cause: ")]
    return ": ".join(errors[-1:] + causes[-1:] or lines[-1:])[:500]


def refuse(lines: list[str], code: str, what: str, hint: str) -> NoReturn:
    """Turn the output of a failed pip or uv into a SetupError."""
    text = "\n".join(lines)
    if "No space left" in text or "os error 28" in text or "os error 112" in text:
        raise SetupError("disk_full", f"{what}: the disk is full.", "Free some space, start again.")
    if "DO NOT MATCH THE HASHES" in text or "Hash mismatch" in text:
        hint = "What the index or a proxy gave is not what this version names. " + hint
        raise SetupError("hash_mismatch", f"{what}: a fetched file has the wrong sha256.", hint)
    raise SetupError(code, f"{what}: {first_error(lines) or 'no reason was given'}", hint)
