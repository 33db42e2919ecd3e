"""The order of versions in the four ways of Ansible's test `version`. Each raises ValueError for what it can't read."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

_LOOSE = re.compile(r"(\d+|[a-z]+|\.)")
_STRICT = re.compile(r"(\d+)\.(\d+)(?:\.(\d+))?(?:([ab])(\d+))?\Z", re.ASCII)
_SEMVER = re.compile(r"(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)(?:-([0-9A-Za-z.-]+))?(?:\+[0-9A-Za-z.-]+)?\Z", re.ASCII)
_PEP440 = re.compile(
    r"\s*v?(?:(?P<epoch>\d+)!)?(?P<release>\d+(?:\.\d+)*)"
    r"(?:[-_.]?(?P<pre>alpha|beta|preview|pre|a|b|c|rc)[-_.]?(?P<pren>\d*))?"
    r"(?:-(?P<post1>\d+)|(?P<post>[-_.]?(?:post|rev|r)[-_.]?(?P<postn>\d*)))?"
    r"(?P<dev>[-_.]?dev[-_.]?(?P<devn>\d*))?"
    r"(?:\+(?P<local>[a-z0-9]+(?:[-_.][a-z0-9]+)*))?\s*\Z",
    re.ASCII | re.I,
)


def _loose(text: str) -> list[int | str]:
    """Numbers and words in turn; a number and a word in one place can't be compared."""
    return [int(part) if part.isdigit() else part for part in _LOOSE.split(text) if part and part != "."]


def _strict(text: str) -> list[Any]:
    """Two or three numbers, and an alpha or a beta before the release."""
    found = _STRICT.match(text)
    if not found:
        raise ValueError(f"{text!r} is no strict version (1.2.3, or 1.2a1)")
    return [[int(found[1]), int(found[2]), int(found[3] or 0)], found[4] is None, (found[4] or "", int(found[5] or 0))]


def _semantic(text: str) -> list[Any]:
    """Semantic Versioning 2.0.0, section 11."""
    found = _SEMVER.match(text)
    if not found:
        raise ValueError(f"{text!r} is not a semantic version")
    numbers = [int(found[index]) for index in (1, 2, 3)]
    before = [(0, int(part), "") if part.isdigit() else (1, 0, part) for part in (found[4] or "").split(".") if part]
    return [numbers, not before, before]


def _pep440(text: str) -> list[Any]:
    """Python's versions: PEP 440, "Summary of permitted suffixes and relative ordering"."""
    found = _PEP440.match(text)
    if not found:
        raise ValueError(f"{text!r} is no version of PEP 440")
    release = [int(part) for part in found["release"].split(".")]
    while release[-1] == 0 and len(release) > 1:
        release.pop()
    has_post = found["post"] is not None or found["post1"] is not None
    word = {"alpha": "a", "beta": "b", "c": "rc", "pre": "rc", "preview": "rc"}
    if found["pre"]:
        pre = (0, word.get(found["pre"].lower(), found["pre"].lower()), int(found["pren"] or 0))
    else:
        pre = (-1 if found["dev"] and not has_post else 1, "", 0)
    post = int(found["post1"] or found["postn"] or 0) if has_post else -1
    dev = (0, int(found["devn"] or 0)) if found["dev"] else (1, 0)
    local = [(1, int(part), "") if part.isdigit() else (0, 0, part.lower())
             for part in re.split("[-_.]", found["local"] or "") if part]  # fmt: skip
    return [int(found["epoch"] or 0), release, pre, post, dev, local]


_WAYS: dict[str, Callable[[str], list[Any]]] = {
    "loose": _loose, "strict": _strict, "semver": _semantic, "semantic": _semantic, "pep440": _pep440,
}  # fmt: skip
_OPERATORS: dict[str, Callable[[int], bool]] = {
    name: test
    for names, test in (
        (("==", "=", "eq"), lambda order: order == 0),
        (("!=", "<>", "ne"), lambda order: order != 0),
        (("<", "lt"), lambda order: order < 0),
        (("<=", "le"), lambda order: order <= 0),
        ((">", "gt"), lambda order: order > 0),
        ((">=", "ge"), lambda order: order >= 0),
    )
    for name in names
}


def version(value: Any, other: Any, operator: str = "eq", strict: Any = None, version_type: str | None = None) -> bool:
    """Whether `value operator other` holds. Raises ValueError for what has no order."""
    if strict is not None and version_type is not None:
        raise ValueError("give `strict` or `version_type`, not both")
    if not value:
        raise ValueError("the version value cannot be empty")
    if not other:
        raise ValueError("the version to compare against cannot be empty")
    way = "strict" if strict else version_type or "loose"
    if way not in _WAYS:
        raise ValueError(f"there is no version_type {way!r}; there are {', '.join(_WAYS)}")
    if operator not in _OPERATORS:
        raise ValueError(f"version has no operator {operator!r}; there are {' '.join(_OPERATORS)}")
    left, right = _WAYS[way](str(value)), _WAYS[way](str(other))
    try:
        return _OPERATORS[operator]((left > right) - (left < right))
    except TypeError as error:
        raise ValueError(f"{value} and {other} have no order: a number stands against a word") from error
