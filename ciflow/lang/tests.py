"""Ansible's tests (`x is y`). Those that look at the controller's files go through the scope (SCOPED_TESTS)."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import urlsplit

from ciflow.lang.filters import to_bool
from ciflow.lang.filters_text import matches
from ciflow.lang.scope import Scope
from ciflow.lang.versions import version
from ciflow.model import Read, Stat


def _result(value: Any) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise ValueError("this test takes the registered result of a task")
    return value


def _says(key: str, absent: bool = False) -> Callable[[Any], bool]:
    """Whether a result says `key`; `absent` where it says nothing of it."""
    return lambda result: bool(_result(result).get(key, absent))


def _says_not(key: str) -> Callable[[Any], bool]:
    return lambda result: not _result(result).get(key, False)


def changed(result: Any) -> bool:
    whole = _result(result)
    if "changed" in whole:
        return bool(whole["changed"])
    return any(isinstance(one, Mapping) and one.get("changed") for one in whole.get("results", ()))


def timed_out(result: Any) -> bool:
    told = _result(result).get("timedout")
    return bool(told and (not isinstance(told, Mapping) or told.get("period")))


def match(value: Any, pattern: str = "", ignorecase: bool = False, multiline: bool = False) -> bool:
    return matches(value, pattern, ignorecase, multiline, "match")


def search(value: Any, pattern: str = "", ignorecase: bool = False, multiline: bool = False) -> bool:
    return matches(value, pattern, ignorecase, multiline, "search")


def contains(seq: Any, value: Any) -> bool:
    return value in seq


def subset(a: Any, b: Any) -> bool:
    return all(item in b for item in a)


def superset(a: Any, b: Any) -> bool:
    return subset(b, a)


def truthy(value: Any, convert_bool: bool = False) -> bool:
    if convert_bool:
        try:
            return to_bool(value)
        except ValueError:
            return bool(value)
    return bool(value)


def falsy(value: Any, convert_bool: bool = False) -> bool:
    return not truthy(value, convert_bool)


def not_a_number(x: Any) -> bool:
    return isinstance(x, float) and math.isnan(x)


def uri(value: Any, schemes: Any = None) -> bool:
    """Whether the text can be read as a URI, of one of the schemes where they are given."""
    try:
        parts = urlsplit(value)
    except (ValueError, AttributeError, TypeError):
        return False
    return not schemes or parts.scheme in schemes


def url(value: Any, schemes: Any = None) -> bool:
    return uri(value, schemes) and bool(urlsplit(value).netloc or urlsplit(value).scheme == "file")


def urn(value: Any) -> bool:
    return uri(value, ["urn"])


def absolute(path: Any) -> bool:
    return str(path).startswith("/")


def vault_encrypted(value: Any) -> bool:
    """Whether a text is a vault's. A `!vault` value has been decrypted when a template sees it."""
    return isinstance(value, str) and value.startswith("$ANSIBLE_VAULT;")


# --- files of the controller ---------------------------------------------------------------------------


def _stat(scope: Scope, path: Any, follow: bool = True) -> Mapping[str, Any]:
    return scope.answer(Stat(path=str(path), follow=follow)).data


def exists(scope: Scope, path: str) -> bool:
    return bool(_stat(scope, path).get("exists"))


def link_exists(scope: Scope, path: str) -> bool:
    return bool(_stat(scope, path, follow=False).get("exists"))


def is_file(scope: Scope, path: str) -> bool:
    return _stat(scope, path).get("kind") == "file"


def is_directory(scope: Scope, path: str) -> bool:
    return _stat(scope, path).get("kind") == "directory"


def is_link(scope: Scope, path: str) -> bool:
    return _stat(scope, path, follow=False).get("kind") == "link"


def is_mount(scope: Scope, path: str) -> bool:
    """Whether another file system begins there: another device than above, or the root itself."""
    here = _stat(scope, path, follow=False)
    if not here.get("exists") or here.get("kind") == "link":
        return False
    above = _stat(scope, f"{str(path).rstrip('/')}/..")
    return here.get("device") != above.get("device") or here.get("inode") == above.get("inode")


def same_file(scope: Scope, path: str, other: str) -> bool:
    both = [_stat(scope, one) for one in (path, other)]
    for one, name in zip(both, (path, other), strict=True):
        if not one.get("exists"):
            raise ValueError(f"there is no file {name}")
    return all(both[0].get(key) == both[1].get(key) for key in ("device", "inode"))


def vaulted_file(scope: Scope, path: str) -> bool:
    reply = scope.answer(Read(path=str(path), length=len(b"$ANSIBLE_VAULT;")))
    if not reply.ok:
        raise ValueError(f"can't read {path}: {reply.error}")
    return reply.stdout == b"$ANSIBLE_VAULT;"


_GROUPS: tuple[tuple[tuple[str, ...], Callable[..., bool]], ...] = (
    (("failed", "failure"), _says("failed")),
    (("succeeded", "success", "successful"), _says_not("failed")),
    (("changed", "change"), changed),
    (("skipped", "skip"), _says("skipped")),
    (("unreachable",), _says("unreachable")),
    (("reachable",), _says_not("unreachable")),
    (("started",), _says("started", absent=True)),  # a task that was waited for has begun, and has ended
    (("finished",), _says("finished", absent=True)),
    (("timedout",), timed_out),
    (("match",), match),
    (("search",), search),
    (("regex",), matches),
    (("version", "version_compare"), version),
    (("contains",), contains),
    (("subset", "issubset"), subset),
    (("superset", "issuperset"), superset),
    (("any",), any),
    (("all",), all),
    (("truthy",), truthy),
    (("falsy",), falsy),
    (("vault_encrypted",), vault_encrypted),
    (("abs", "is_abs"), absolute),
    (("nan", "isnan"), not_a_number),
    (("uri",), uri),
    (("url",), url),
    (("urn",), urn),
)
TESTS: dict[str, Callable[..., bool]] = {name: test for names, test in _GROUPS for name in names}

SCOPED_TESTS: dict[str, Callable[..., bool]] = {
    "file": is_file, "is_file": is_file, "directory": is_directory, "is_dir": is_directory, "exists": exists,
    "link": is_link, "is_link": is_link, "link_exists": link_exists, "mount": is_mount, "is_mount": is_mount,
    "same_file": same_file, "is_same_file": same_file, "vaulted_file": vaulted_file,
}  # fmt: skip
