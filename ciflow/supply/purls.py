"""Package URLs (ECMA-427): made, and taken apart to be checked."""

from __future__ import annotations

import re
from collections.abc import Iterable
from urllib.parse import quote, unquote

from ciflow.dataclass import dataclass
from ciflow.supply.errors import SupplyError

_PLAIN = re.compile(r"[A-Za-z0-9._~-]+\Z")  # what no quoting changes
_TYPE = re.compile(r"[a-z][a-z0-9.-]*\Z")
_KEY = re.compile(r"[a-z][a-z0-9._-]*\Z")
_ESCAPED = re.compile(r"(?:[A-Za-z0-9._~!$&'()*+,;=:@/-]|%[0-9A-Fa-f]{2})*\Z")


@dataclass(frozen=True)
class Purl:
    """The parts of a package URL, unquoted; `qualifiers` are sorted by key."""

    kind: str
    namespace: str
    name: str
    version: str | None
    qualifiers: tuple[tuple[str, str], ...] = ()
    subpath: str = ""

    def __str__(self) -> str:
        text = f"pkg:{self.kind}/"
        if self.namespace:
            text += "/".join(quote(part, safe="") for part in self.namespace.split("/")) + "/"
        text += quote(self.name, safe="")
        if self.version:
            text += "@" + quote(self.version, safe=":")
        pairs = [f"{key}={quote(value, safe='/:')}" for key, value in sorted(self.qualifiers) if value]
        text += "?" + "&".join(pairs) if pairs else ""
        return text + ("#" + quote(self.subpath, safe="/") if self.subpath else "")


def purl(
    kind: str, name: str, version: str | None, qualifiers: Iterable[tuple[str, str]] = (), namespace: str = ""
) -> str:
    """A package URL without subpath; empty qualifiers are left out."""
    if not (namespace or qualifiers) and version and _PLAIN.match(name) and _PLAIN.match(version):
        return f"pkg:{kind}/{name}@{version}"
    return str(Purl(kind, namespace, name, version, tuple(qualifiers)))


def parse(text: str) -> Purl:
    """Take a package URL apart.

    Raises:
        SupplyError: saying which part is wrong.
    """
    scheme, _, rest = text.partition(":")
    if scheme != "pkg" or not rest:
        raise SupplyError(f"{text!r} is no package URL: it begins with `pkg:`")
    rest, _, subpath = rest.lstrip("/").partition("#")
    rest, _, query = rest.partition("?")
    kind, _, path = rest.partition("/")
    if not _TYPE.match(kind.lower()):
        raise SupplyError(f"{text!r} is no package URL: {kind!r} is no type")
    path, version = _version(path.strip("/"))
    namespace, _, name = path.rpartition("/")
    if not name:
        raise SupplyError(f"{text!r} is no package URL: it has no name")
    if not _ESCAPED.match(path + version):
        raise SupplyError(f"{text!r} is no package URL: it holds characters that must be quoted")
    parts = "/".join(unquote(part) for part in namespace.split("/") if part)
    pairs = tuple(sorted(_qualifiers(text, query)))
    return Purl(kind.lower(), parts, unquote(name), unquote(version) or None, pairs, unquote(subpath.strip("/")))


def _version(path: str) -> tuple[str, str]:
    """The last `@` parts the version off; one at the beginning of a namespace (npm's, unquoted) does not."""
    at = path.rfind("@")
    return (path[:at], path[at + 1 :]) if at > 0 and "/" not in path[at:] else (path, "")


def _qualifiers(text: str, query: str) -> Iterable[tuple[str, str]]:
    seen: set[str] = set()
    for pair in filter(None, query.split("&")):
        key, equals, value = pair.partition("=")
        if not equals or not _KEY.match(key.lower()) or key.lower() in seen:
            raise SupplyError(f"{text!r} is no package URL: {pair!r} is no qualifier")
        seen.add(key.lower())
        if value:
            yield key.lower(), unquote(value)
