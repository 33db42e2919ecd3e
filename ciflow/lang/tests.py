"""Ansible's tests (`x is y`). Those that look at the controller's files go through the scope (SCOPED_TESTS)."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from ciflow.lang.filters import to_bool
from ciflow.lang.scope import Scope
from ciflow.model import Stat


def _result(value: Any) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise ValueError("this test takes the registered result of a task")
    return value


def failed(result: Any) -> bool:
    return bool(_result(result).get("failed", False))


def changed(result: Any) -> bool:
    whole = _result(result)
    if "changed" in whole:
        return bool(whole["changed"])
    return any(isinstance(one, Mapping) and one.get("changed") for one in whole.get("results", ()))


def skipped(result: Any) -> bool:
    return bool(_result(result).get("skipped", False))


def _matcher(how: Callable[..., Any]) -> Callable[..., bool]:
    def test(value: Any, pattern: str, ignorecase: bool = False, multiline: bool = False) -> bool:
        flags = (re.I if ignorecase else 0) | (re.M if multiline else 0)
        return bool(how(pattern, str(value), flags))

    return test


def regex(
    value: Any, pattern: str, ignorecase: bool = False, multiline: bool = False, match_type: str = "search"
) -> bool:
    flags = (re.I if ignorecase else 0) | (re.M if multiline else 0)
    how = {"search": re.search, "match": re.match, "fullmatch": re.fullmatch}[match_type]
    return bool(how(pattern, str(value), flags))


def contains(value: Any, item: Any) -> bool:
    return item in value


def subset(left: Any, right: Any) -> bool:
    return all(item in right for item in left)


def superset(left: Any, right: Any) -> bool:
    return subset(right, left)


def truthy(value: Any, convert_bool: bool = False) -> bool:
    if convert_bool:
        try:
            return to_bool(value)
        except ValueError:
            return bool(value)
    return bool(value)


def falsy(value: Any, convert_bool: bool = False) -> bool:
    return not truthy(value, convert_bool)


# --- versions ------------------------------------------------------------------------------------------

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
_SEMVER = re.compile(r"(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)(?:-([0-9A-Za-z.-]+))?(?:\+[0-9A-Za-z.-]+)?\Z")


def _loose(text: str) -> list[tuple[int, Any]]:
    """Parts of a version, numbers above words, so that any two can be compared."""
    parts = re.findall(r"\d+|[a-z]+", text.lower())
    return [(1, int(part)) if part.isdigit() else (0, part) for part in parts]


def _semantic(text: str) -> list[Any]:
    """The order of Semantic Versioning 2.0.0, section 11."""
    found = _SEMVER.match(text)
    if not found:
        raise ValueError(f"{text!r} is not a semantic version")
    numbers = [int(found[index]) for index in (1, 2, 3)]
    before = [(0, int(p), "") if p.isdigit() else (1, 0, p) for p in (found[4] or "").split(".") if p]
    return [numbers, not before, before]


def version(value: Any, other: Any, operator: str = "==", strict: Any = None, version_type: str = "") -> bool:
    if operator not in _OPERATORS:
        raise ValueError(f"version has no operator {operator!r}")
    semantic = version_type in ("semver", "semantic")
    read: Callable[[str], list[Any]] = _semantic if semantic else _loose
    if strict and not re.match(r"\d+\.\d+(\.\d+)?([ab]\d+)?\Z", str(value)):
        raise ValueError(f"{value!r} is not a strict version")
    left, right = read(str(value)), read(str(other))
    return _OPERATORS[operator]((left > right) - (left < right))


# --- files of the controller ---------------------------------------------------------------------------


def _stat(scope: Scope, path: str, follow: bool = True) -> Mapping[str, Any]:
    return scope.answer(Stat(path=str(path), follow=follow)).data


def exists(scope: Scope, path: str) -> bool:
    return bool(_stat(scope, path).get("exists"))


def is_file(scope: Scope, path: str) -> bool:
    return _stat(scope, path).get("kind") == "file"


def is_directory(scope: Scope, path: str) -> bool:
    return _stat(scope, path).get("kind") == "directory"


def is_link(scope: Scope, path: str) -> bool:
    return _stat(scope, path, False).get("kind") == "link"


def _vault(value: Any) -> bool:
    return isinstance(value, str) and value.startswith("$ANSIBLE_VAULT;")


_GROUPS: tuple[tuple[tuple[str, ...], Callable[..., bool]], ...] = (
    (("failed", "failure"), failed),
    (("succeeded", "success", "successful"), lambda result: not failed(result)),
    (("changed", "change"), changed),
    (("skipped", "skip"), skipped),
    (("unreachable",), lambda result: bool(_result(result).get("unreachable"))),
    (("reachable",), lambda result: not _result(result).get("unreachable")),
    (("started",), lambda result: bool(_result(result).get("started"))),
    (("finished",), lambda result: bool(_result(result).get("finished"))),
    (("timedout",), lambda result: bool(_result(result).get("timedout"))),
    (("match",), _matcher(re.match)),
    (("search",), _matcher(re.search)),
    (("regex",), regex),
    (("version", "version_compare"), version),
    (("contains",), contains),
    (("subset", "issubset"), subset),
    (("superset", "issuperset"), superset),
    (("any",), any),
    (("all",), all),
    (("truthy",), truthy),
    (("falsy",), falsy),
    (("vault_encrypted",), _vault),
    (("abs", "is_abs"), lambda path: str(path).startswith("/")),
    (("nan", "isnan"), lambda number: number != number),
)
TESTS: dict[str, Callable[..., bool]] = {name: test for names, test in _GROUPS for name in names}

SCOPED_TESTS: dict[str, Callable[..., bool]] = {
    "file": is_file, "is_file": is_file, "directory": is_directory, "is_dir": is_directory, "exists": exists,
    "link": is_link, "is_link": is_link,
}  # fmt: skip
