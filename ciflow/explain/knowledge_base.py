"""The knowledge base: `knowledge/*.yml`, one file for each family of faults.

An entry has a `code`, patterns (`when`: any of these regular expressions, by line), exit codes (`exit`: any of
these; with `when`, both must fit), a `cause` and a `fix`. Named groups of a pattern stand in cause and fix as
`{name}`; a group `lib` also gives `{package}`, the Debian package that holds it (`packages.yml`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import cache
from importlib.resources import files
from typing import Any

from ciflow.dataclass import dataclass

# What lies deepest comes first: a full disk looks like a fault of the linker too, and text that a program prints
# on its way (a refused connection, say) says less than an error of the compiler.
FAMILIES = ("disk", "memory", "linker", "rustc", "lock", "cargo", "routers", "ports", "ssh", "containers", "network",
            "system")  # fmt: skip

_HEAD, _TAIL = 64 * 1024, 448 * 1024
_LONGEST = 200
_ESCAPE = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)?")
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


@dataclass(frozen=True)
class Explanation:
    """`code` is `family/name`; `evidence` the line that gave it away, empty where the exit code did."""

    code: str
    cause: str
    fix: str
    evidence: str = ""


@dataclass(frozen=True)
class Entry:
    code: str
    when: tuple[re.Pattern[str], ...]
    exit: frozenset[int]
    cause: str
    fix: str

    def match(self, text: str) -> re.Match[str] | None:
        return next(filter(None, (pattern.search(text) for pattern in self.when)), None)


def explain(text: str, rc: int | None = None) -> Explanation | None:
    """What most likely went wrong, or None where nothing is known (or nothing did: exit code 0).

    Args:
        text: standard output and error together, in any state; only 512 KiB (mostly the end) are looked at.
        rc: exit code, as a shell gives it (137 for SIGKILL); negative as Python gives it for a signal.
    """
    code = 128 - rc if rc is not None and rc < 0 else rc
    if code == 0:
        return None
    plain = _plain(text)
    for entry in _entries():
        if entry.when and (not entry.exit or code in entry.exit) and (match := entry.match(plain)):
            return _explanation(entry, match, plain)
    for entry in _entries():
        if not entry.when and code in entry.exit:
            return Explanation(entry.code, entry.cause, entry.fix)
    return None


def _plain(text: str) -> str:
    if len(text) > _HEAD + _TAIL:
        text = text[:_HEAD] + "\n" + text[-_TAIL:]
    plain = _CONTROL.sub("", _ESCAPE.sub("", text.replace("\r\n", "\n")))
    return "\n".join(map(_bounded, plain.split("\n")))


def _bounded(line: str) -> str:
    """A pattern costs the square of a line at worst. Both ends stay: a compiler's command line ends in the reason."""
    return line if len(line) <= 4000 else line[:2000] + " … " + line[-2000:]


def _explanation(entry: Entry, match: re.Match[str], text: str) -> Explanation:
    words = {name: _short((value or "").strip(" :=") or "?") for name, value in match.groupdict().items()}
    if "lib" in words:
        words["package"] = _packages().get(words["lib"], f"the package that holds {words['lib']}")
    begin = text.rfind("\n", 0, match.start()) + 1
    end = text.find("\n", match.start())
    line = text[begin : end if end >= 0 else len(text)]
    return Explanation(entry.code, entry.cause.format_map(words), entry.fix.format_map(words), _short(line.strip()))


def _short(text: str) -> str:
    return text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"


@cache
def _entries() -> tuple[Entry, ...]:
    return tuple(entry for family in FAMILIES for entry in _family(family))


def _family(name: str) -> Iterator[Entry]:
    for raw in _data(name):
        yield Entry(
            code=f"{name}/{raw['code']}",
            when=tuple(re.compile(pattern, re.MULTILINE) for pattern in raw.get("when", ())),
            exit=frozenset(raw.get("exit", ())),
            cause=" ".join(raw["cause"].split()),
            fix=" ".join(raw["fix"].split()),
        )


@cache
def _packages() -> Mapping[str, str]:
    packages: Mapping[str, str] = _data("packages")
    return packages


def _data(name: str) -> Any:
    # Imported here: the command line starts without a YAML parser, and most runs explain nothing.
    from ciflow.lang.yamltext import load_data

    return load_data(files("ciflow.explain").joinpath("knowledge", f"{name}.yml").read_text("utf-8"))[0]
