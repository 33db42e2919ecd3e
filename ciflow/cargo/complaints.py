"""What cargo, rustc, rustup and nextest say of a failure, in one line: what is wrong, where, and the innermost cause.

They write `error: ..` with details below it, in the form of rustc's diagnostics (`--> file:line:column`) or of anyhow's
(`Caused by:`), and at the end more errors that only say that there was one.
"""

from __future__ import annotations

import re

_PLACE = re.compile(r"^\s*--> (\S+:\d+:\d+)$", re.MULTILINE)
_CAUSE = re.compile(r"^Caused by:\n((?: .*\n?|\n(?= ))+)", re.MULTILINE)
_OUTPUT = "\n  full output:"  # of a program that nextest asked for its tests
_ESCAPE = re.compile(r"\x1b\[[0-9;]*m")
_SYSTEM = re.compile(r"[^\n:]*\(os error \d+\)")
_THAT_THERE_WAS_ONE = ("error: could not compile", "error: aborting due to", "error: command `", "error: build failed")


def complaint(stderr: str) -> str:
    """The first error that says something; empty where there is none."""
    lines = _ESCAPE.sub("", stderr).splitlines()
    starts = [number for number, line in enumerate(lines) if line.startswith(("error:", "error["))]
    if not starts:
        return ""
    telling = [number for number in starts if not lines[number].startswith(_THAT_THERE_WAS_ONE)]
    first = (telling or starts[-1:])[0]
    end = next((number for number in starts if number > first), len(lines))
    said = _said(lines[first], lines[first + 1 : end])
    refused = _SYSTEM.search("\n".join(lines))  # a full disk makes tools say much else as well
    return f"{said}: {refused[0].strip()}" if refused and "(os error " not in said else said


def _said(head: str, details: list[str]) -> str:
    head = head.rstrip()
    if head.endswith(":"):  # it is about what is listed below
        listed = [line.strip() for line in details[: _run(details)]]
        return f"{head} {', '.join(listed)}" if listed else head
    below = "\n".join(details)
    if place := _PLACE.search(below):
        return f"{head} at {place[1]}"
    told = [found[1].partition(_OUTPUT)[0] for found in _CAUSE.finditer(below)]
    causes = [line.strip() for one in told for line in one.splitlines() if line.strip()]
    return f"{head}: {causes[-1]}" if causes else head


def _run(lines: list[str]) -> int:
    """How many of the first lines are indented."""
    return next((number for number, line in enumerate(lines) if not line.startswith(" ")), len(lines))
