"""The plain text of `cargo test`: totals and names of what failed.

Stable has no machine-readable form. What counts is `test result:`, one for each harness; what tests print may
stand anywhere between, so a line that only looks like a result of a test is believed where the totals agree.
"""

from __future__ import annotations

import re

from ciflow.dataclass import dataclass

_STARTED = re.compile(r"^running (\d+) tests?$", re.MULTILINE)
_RESULT = re.compile(
    r"^test result: (?:ok|FAILED)\. (\d+) passed; (\d+) failed; (\d+) ignored; (\d+) measured; (\d+) filtered out"
    r"(?:; finished in ([\d.]+)s)?",
    re.MULTILINE,
)
_LISTED = re.compile(r"^failures:\n((?: {4}\S[^\n]*\n)+)\s*\Z", re.MULTILINE)
_NAMED = re.compile(r"^test (.+?)(?: - should panic)? \.\.\. FAILED$", re.MULTILINE)
_ESCAPE = re.compile(r"\x1b\[[0-9;]*m")


@dataclass(frozen=True)
class TestTotals:
    """Sums over all harnesses. `unfinished` harnesses began and gave no result: aborted or killed, never passed.
    `announced` is how many tests they said they would run, ignored ones too."""

    __test__ = False

    passed: int
    failed: int
    ignored: int
    measured: int
    filtered_out: int
    seconds: float
    harnesses: int
    unfinished: int
    announced: int
    failed_names: tuple[str, ...]

    @property
    def ok(self) -> bool:
        """Something ran to its end and nothing failed."""
        return self.harnesses > 0 and self.failed == 0 and self.unfinished == 0


def parse(text: str) -> TestTotals:
    """Read standard output of `cargo test` (with or without standard error mixed in).

    A text without any harness gives zeros, for which `ok` is false.
    """
    text = plain(text)
    results = list(_RESULT.finditer(text))
    announced = [int(number) for number in _STARTED.findall(text)]
    started = len(announced)
    columns = [[int(match[i]) for match in results] for i in range(1, 6)]
    passed, failed, ignored, measured, filtered = map(sum, columns)
    return TestTotals(
        passed=passed,
        failed=failed,
        ignored=ignored,
        measured=measured,
        filtered_out=filtered,
        seconds=round(sum(float(match[6] or 0) for match in results), 6),
        harnesses=max(started, len(results)),
        unfinished=max(0, started - len(results)),
        announced=sum(announced),
        failed_names=_failed_names(text, results),
    )


def plain(text: str) -> str:
    """Without colours, and with the ends of lines of Unix."""
    return _ESCAPE.sub("", text).replace("\r\n", "\n")


def _failed_names(text: str, results: list[re.Match[str]]) -> tuple[str, ...]:
    """Names in order, each once. The list before a result is libtest's own; without it the lines of tests do."""
    names: list[str] = []
    begin = 0
    for result in results:
        section = text[begin : result.start()]
        begin = result.end()
        if result[2] != "0":
            listed = _LISTED.search(section)
            names += [line.strip() for line in listed[1].splitlines()] if listed else _NAMED.findall(section)
    names += _NAMED.findall(text[begin:])
    return tuple(dict.fromkeys(names))
