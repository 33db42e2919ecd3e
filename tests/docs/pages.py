"""Reads the manual's pages: their fenced blocks, what each claims to be, and what a run printed beside it.

The info string of a block says what it is:

    ```yaml playbook              a playbook; it must validate. `file=NAME` keeps it for the blocks below it
    ```ini file=hosts             a file for the blocks below it
    ```console run                commands after `$ `, run in one folder for each page, and what they print
    ```console run exit=4         the last one ends with this code
    ```console skip="why not"     not run, and why
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted({ROOT / "README.md", ROOT / "CONTRIBUTING.md", *ROOT.glob("docs/*.md"), *ROOT.glob("examples/*/*.md")})
_FENCE = re.compile(r"^```(\S+)(?: ([^\n]*))?\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_WORD = re.compile(r'(\w+)(?:=(?:"([^"]*)"|(\S+)))?')
_CHANGING = (
    (re.compile(r"R-\d+-[0-9a-f]{6,10}"), "RUN"),
    (re.compile(r"\b\d+m \d\ds\b|\b[\d.,]+ m?s\b"), "TIME"),
    (re.compile(r"\b\d\d:\d\d\b"), "CLOCK"),
    (re.compile(r"[0-9a-f]{12,}"), "DIGEST"),
    (re.compile(r"\b[\w.-]+@[\w.-]+"), "WHO"),
    (re.compile(r"\s+"), " "),
)


@dataclass(frozen=True)
class Fence:
    """One block. `line` is where it begins."""

    page: str
    line: int
    language: str
    words: dict[str, str] = field(hash=False)
    body: str

    @property
    def name(self) -> str:
        return f"{self.page}:{self.line}"

    @property
    def is_shell(self) -> bool:
        return self.language in ("console", "sh", "bash", "shell")

    def commands(self) -> list[tuple[str, list[str]]]:
        """Each command with the lines that stand below it. In a plain `sh` block every line is a command."""
        found: list[tuple[str, list[str]]] = []
        for text in self.body.splitlines():
            if text.startswith("$ ") or self.language != "console":
                found.append((text.removeprefix("$ "), []))
            elif found:
                found[-1][1].append(text)
        return [(command, shown) for command, shown in found if command and not command.startswith("#")]


def fences(path: Path) -> list[Fence]:
    text, page = path.read_text(), path.relative_to(ROOT).as_posix()
    found = []
    for match in _FENCE.finditer(text):
        words = {word: quoted or plain or "" for word, quoted, plain in _WORD.findall(match[2] or "")}
        found.append(Fence(page, text.count("\n", 0, match.start()) + 1, match[1], words, match[3]))
    return found


def alike(line: str) -> str:
    """What is the same in each run: no ids, times, accounts, digests, and one blank where there are many."""
    for pattern, word in _CHANGING:
        line = pattern.sub(word, line)
    return line.strip()


def missing(shown: list[str], printed: str) -> list[str]:
    """Lines of a page that the output has not, in this order. `...` stands for any lines."""
    rest = [alike(line) for line in printed.splitlines()]
    lost = []
    for line in filter(None, map(alike, shown)):
        if line == "...":
            continue
        if line in rest:
            rest = rest[rest.index(line) + 1 :]
        else:
            lost.append(line)
    return lost
