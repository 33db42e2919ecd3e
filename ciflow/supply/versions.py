"""Versions in the order of their ecosystem, and ranges of them.

A version becomes a tuple that compares as the ecosystem compares: Semantic Versioning 2.0.0 clause 11 for Cargo,
npm and Go, PEP 440 for Python, deb-version(7) for Debian. Build metadata has no part in it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

from ciflow.dataclass import dataclass
from ciflow.supply.errors import AdvisoryError

Key = tuple[Any, ...]

_SEMVER = re.compile(r"v?(\d+)(?:\.(\d+))?(?:\.(\d+))?(?:-([0-9A-Za-z.-]+))?(?:\+[0-9A-Za-z.-]+)?")
_COMPARATOR = re.compile(
    r"(>=|<=|>|<|=|\^|~)?\s*(\d+)(?:\.(\d+))?(?:\.(\d+)(?:-([0-9A-Za-z.-]+))?)?(?:\+[0-9A-Za-z.-]+)?"
)
_PEP440 = re.compile(
    r"v?(?:(\d+)!)?(\d+(?:\.\d+)*)[-_.]?(?:(a|alpha|b|beta|c|rc|pre|preview)[-_.]?(\d*))?"
    r"(?:-(\d+)|[-_.]?(post|rev|r)[-_.]?(\d*))?(?:[-_.]?(dev)[-_.]?(\d*))?(?:\+([a-z0-9]+(?:[-_.][a-z0-9]+)*))?"
)
_PRE = {"a": 0, "alpha": 0, "b": 1, "beta": 1, "c": 2, "rc": 2, "pre": 2, "preview": 2}
_LONGEST = 256  # characters of a version; the longest on crates.io has fewer than 60


@cache
def semver(text: str) -> Key:
    """Missing minor and patch numbers are 0. Raises AdvisoryError."""
    match = _SEMVER.fullmatch(text) if len(text) <= _LONGEST else None
    if match is None:
        raise AdvisoryError(f"{text[:60]!r} is no semantic version")
    numbers = tuple(int(number or 0) for number in match.group(1, 2, 3))
    return (*numbers, *_released(match[4]))


def _released(pre: str | None) -> Key:
    """Clause 11.3 and 11.4: a pre-release comes before its release; numbers before words, shorter before longer."""
    if pre is None:
        return (1, ())
    return (0, tuple((0, int(part), "") if part.isdecimal() else (1, 0, part) for part in pre.split(".")))


@cache
def pep440(text: str) -> Key:
    """The order of PEP 440's appendix, its normalisations included. Raises AdvisoryError."""
    match = _PEP440.fullmatch(text.strip().lower()) if len(text) <= _LONGEST else None
    if match is None:
        raise AdvisoryError(f"{text[:60]!r} is no version of PEP 440")
    epoch, release, pre, pre_number, dashed, post, post_number, dev, dev_number, local = match.groups()
    numbers = [int(part) for part in release.split(".")]
    while numbers and not numbers[-1]:
        numbers.pop()
    before = (_PRE[pre], int(pre_number or 0)) if pre else (-1, 0) if dev and not (post or dashed) else (3, 0)
    after = int(dashed or post_number or 0) if post or dashed else -1
    developed = (0, int(dev_number or 0)) if dev else (1, 0)
    locals_ = tuple((1, int(part), "") if part.isdecimal() else (0, 0, part) for part in re.split("[-_.]", local or ""))
    return (int(epoch or 0), tuple(numbers), before, after, developed, locals_ if local else ())


@cache
def debian(text: str) -> Key:
    """deb-version(7): epoch, upstream, revision; `~` sorts before the end, letters before other characters."""
    if len(text) > _LONGEST or not re.fullmatch(r"(?:\d+:)?[A-Za-z0-9.+:~-]+", text):
        raise AdvisoryError(f"{text[:60]!r} is no version of Debian")
    epoch, colon, rest = text.partition(":")
    upstream, _, revision = (rest if colon else text).rpartition("-")
    if not upstream:
        upstream, revision = revision, ""
    return (int(epoch) if colon else 0, _debian_part(upstream), _debian_part(revision or "0"))


def _debian_part(text: str) -> Key:
    """Runs of other characters and of digits by turns; each character by its rank, an end ranks 0."""
    runs = re.findall(r"(\D*)(\d*)", text)
    return tuple(((*tuple(_rank(one) for one in words), 0), int(digits or 0)) for words, digits in runs)


def _rank(character: str) -> int:
    if character == "~":
        return -1
    return ord(character) if character.isalpha() else ord(character) + 256


SCHEMES = {"crates.io": semver, "npm": semver, "Go": semver, "PyPI": pep440, "Debian": debian}


def order(ecosystem: str) -> Callable[[str], Key]:
    """How versions of an ecosystem compare (`Debian:12` is of Debian). Raises AdvisoryError where nobody knows."""
    known = SCHEMES.get(ecosystem.partition(":")[0])
    if known is None:
        raise AdvisoryError(f"the order of versions of {ecosystem} is not known")
    return known


@dataclass(frozen=True)
class Range:
    """Versions from `introduced` (all before, when empty) to before `fixed`, or up to `last`; no end without both."""

    introduced: str = ""
    fixed: str = ""
    last: str = ""

    def holds(self, at: Key, key: Callable[[str], Key]) -> bool:
        if self.introduced and at < key(self.introduced):
            return False
        return at < key(self.fixed) if self.fixed else not self.last or at <= key(self.last)


@dataclass(frozen=True)
class Requirement:
    """One unaffected interval in semantic versions; a bound is (version, inclusive), None where there is none."""

    start: tuple[str, bool] | None
    end: tuple[str, bool] | None


def requirement(text: str) -> Requirement:
    """An interval as RustSec's `patched` and `unaffected` write it: Cargo's operators, at most two of them.

    `^` and `~` end before the first pre-release of what they exclude, or 2.0.0-alpha would count as ^1.
    Raises AdvisoryError on what names no single interval.
    """
    parts = [part.strip() for part in text.split(",")]
    if parts == ["*"]:
        return Requirement(None, None)
    start = end = None
    for part in parts:
        low, high = _bounds(part, text, len(parts))
        if (low and start) or (high and end):
            raise AdvisoryError(f"{text!r} bounds one side twice")
        start, end = low or start, high or end
    if start and end and (semver(start[0]), not start[1]) > (semver(end[0]), end[1] - 1):
        raise AdvisoryError(f"{text!r} is an empty range")
    return Requirement(start, end)


def _bounds(part: str, whole: str, count: int) -> tuple[tuple[str, bool] | None, tuple[str, bool] | None]:
    match = _COMPARATOR.fullmatch(part) if len(part) <= _LONGEST else None
    if match is None:
        raise AdvisoryError(f"{whole[:60]!r} is no range of versions")
    operator, pre = match[1] or "^", match[5]
    major, minor, patch = (None if number is None else int(number) for number in match.group(2, 3, 4))
    assert major is not None
    version = f"{major}.{minor or 0}.{patch or 0}" + (f"-{pre}" if pre else "")
    if operator in (">", ">="):
        return (version, operator == ">="), None
    if operator in ("<", "<="):
        return None, (version, operator == "<=")
    if count > 1:
        raise AdvisoryError(f"{whole!r}: {operator} bounds both sides and stands alone")
    if operator == "=":
        return (version, True), (version, True)
    return (version, True), (f"{_next(operator, major, minor, patch)}-0", False)


def _next(operator: str, major: int, minor: int | None, patch: int | None) -> str:
    """The first release that `^` or `~` excludes (the Cargo book, "Specifying Dependencies")."""
    if minor is None or (operator == "^" and major):
        return f"{major + 1}.0.0"
    if operator == "~" or minor or patch is None:
        return f"{major}.{minor + 1}.0"
    return f"0.0.{patch + 1}"


def affected(unaffected: Sequence[Requirement]) -> tuple[Range, ...]:
    """What the unaffected intervals leave, in order. Raises AdvisoryError where two of them overlap."""
    ordered = sorted(unaffected, key=lambda one: (0, ()) if one.start is None else (1, semver(one.start[0])))
    ranges, open_from = [], ""
    for number, one in enumerate(ordered):
        if number and (one.start is None or not open_from or _before(one.start, open_from)):
            raise AdvisoryError("ranges of unaffected versions overlap")
        if one.start is not None:
            fixed = one.start[0] if one.start[1] else _after(one.start[0])
            if fixed != open_from:
                ranges.append(Range(open_from, fixed))
        if one.end is None:
            open_from = ""
        else:
            open_from = _after(one.end[0]) if one.end[1] else one.end[0]
    if not ordered or ordered[-1].end is not None:
        ranges.append(Range(open_from, ""))
    return tuple(ranges)


def _before(start: tuple[str, bool], open_from: str) -> bool:
    fixed = start[0] if start[1] else _after(start[0])
    return semver(fixed) < semver(open_from)


def _after(version: str) -> str:
    """The lowest version above another: of a release the first pre-release of the next patch, of a pre-release
    itself with one more field 0 (clause 11.4.4)."""
    if "-" in version:
        return f"{version}.0"
    major, minor, patch = version.split(".")
    return f"{major}.{minor}.{int(patch) + 1}-0"
