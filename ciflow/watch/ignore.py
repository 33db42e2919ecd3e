"""What a project says is none of its sources: `.gitignore`, as gitignore(5) has it, and `.ignore`, which has the same
form and is read by other tools that look through a project.

Files that git tracks although a pattern fits them count as ignored here, too: no list of tracked files is asked for.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from ciflow.dataclass import dataclass

FILES = (".gitignore", ".ignore")  # the later has the last word

# Never sources, whatever a project says: what tools keep, what builds leave, what editors write beside a file.
FOLDERS = frozenset({
    ".git", ".hg", ".svn", ".jj", "target", "node_modules", "__pycache__", ".venv", ".tox", ".terraform", ".gradle",
    ".mypy_cache", ".pytest_cache", ".ruff_cache", ".hypothesis",
})  # fmt: skip
BESIDE = re.compile(r".*~|\..*\.sw.|\..*\.swpx|\.#.*|#.*#|4913|.*___jb_(?:tmp|old)___|\.DS_Store|\.git", re.DOTALL)
# The folder of a cache says so itself (https://bford.info/cachedir/); cargo's target folder does, whatever its name.
CACHE_TAG = "CACHEDIR.TAG"
CACHE_SIGNATURE = b"Signature: 8a477f597d28d172789f06886806bc55"


@dataclass(frozen=True, slots=True)
class Rule:
    """One line of such a file. `path` fits a path from its folder, or a name alone."""

    pattern: re.Pattern[str]
    whole: bool  # it is about the path, not about a name anywhere below
    folders: bool  # and about folders only
    back: bool  # what it fits is a source after all


@dataclass(frozen=True, slots=True)
class Rules:
    """The lines of one file, for what lies below `folder` ("" or `a/b/`, from the top)."""

    folder: str
    rules: tuple[Rule, ...]

    def says(self, path: str, *, folder: bool) -> bool | None:
        """Whether the path is ignored; None where no line is about it. The last line that fits decides."""
        below = path[len(self.folder) :]
        name = below.rpartition("/")[2]
        for rule in reversed(self.rules):
            if rule.folders and not folder:
                continue
            if rule.pattern.fullmatch(below if rule.whole else name):
                return not rule.back
        return None


def ignored(path: str, chain: Iterable[Rules], *, folder: bool) -> bool:
    """By a chain of files, those of the innermost folder last: theirs is the last word."""
    found = False
    for rules in chain:
        said = rules.says(path, folder=folder)
        found = found if said is None else said
    return found


def read(text: str, folder: str) -> Rules:
    return Rules(folder, tuple(_rules(text)))


def usual(name: str, *, folder: bool) -> bool:
    """Whether nothing of this name is ever a source."""
    return name in FOLDERS if folder else BESIDE.fullmatch(name) is not None


def _rules(text: str) -> Iterator[Rule]:
    for line in text.splitlines():
        line = re.sub(r"(?<!\\) +$", "", line)
        back = line.startswith("!")
        line = line[1:] if back else line
        if not line or (line.startswith("#") and not back):
            continue
        folders = line.endswith("/")
        line = line.rstrip("/") if folders else line
        whole = "/" in line
        if pattern := _pattern(line.removeprefix("/")):
            yield Rule(pattern, whole, folders, back)


def _pattern(line: str) -> re.Pattern[str] | None:
    """None for a line that fits nothing, such as one with a bracket that nobody closes."""
    parts: list[str] = []
    star = -1  # where the last one stands in this part of the path
    at = 0
    while at < len(line):
        text, length = _piece(line, at)
        if not length:
            return None
        if text == _STAR and star >= 0:
            # What stands between two stars may as well be found where it comes first (as in fnmatch.translate):
            # without this a pattern of many takes time without end.
            parts[star:] = [f"(?>[^/]*?{''.join(parts[star + 1 :])})"]
        star = len(parts) if text == _STAR else -1 if text == "/" else star
        parts.append(text)
        at += length
    try:
        return re.compile("".join(parts), re.DOTALL)
    except re.error:
        return None


_STAR = "[^/]*"


def _piece(line: str, at: int) -> tuple[str, int]:
    """The expression for what stands there, and how long that is; 0 where it makes the line void."""
    rest = line[at:]
    first = at == 0 or line[at - 1] == "/"
    if first and rest.startswith("**/"):
        return "(?:[^/]+/)*", 3
    if first and rest == "**":
        return ".+", 2
    if rest[0] == "*":
        return _STAR, len(rest) - len(rest.lstrip("*"))
    if rest[0] == "?":
        return "[^/]", 1
    if rest[0] == "\\":
        return re.escape(rest[1:2]), 2 if len(rest) > 1 else 0
    if rest[0] == "[":
        return _bracket(rest)
    return re.escape(rest[0]), 1


_BRACKET = re.compile(r"\[([!^]?)(\]?(?:\[:\w+:\]|\\.|[^\]])*)\]", re.DOTALL)
_CLASSES = {
    "alnum": r"0-9A-Za-z", "alpha": r"A-Za-z", "digit": r"0-9", "lower": r"a-z", "upper": r"A-Z", "space": r"\s",
    "punct": r"!-/:-@\[-`{-~", "xdigit": r"0-9A-Fa-f", "blank": r" \t",
}  # fmt: skip


def _bracket(rest: str) -> tuple[str, int]:
    found = _BRACKET.match(rest)
    if found is None or not found[2]:
        return "", 0
    inside = re.sub(r"\[:(\w+):\]|\\(.)|([\[\]^\\&~|])", _member, found[2])
    return f"(?!/)[{'^' if found[1] else ''}{inside}]", found.end()


def _member(found: re.Match[str]) -> str:
    if found[1]:
        return _CLASSES.get(found[1], "")
    return re.escape(found[2] or found[3])
