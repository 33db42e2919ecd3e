"""What is looked up in databases of advisories: the packages of a Cargo.lock, or of a bill of materials."""

from __future__ import annotations

import json
import re
from collections import defaultdict, deque
from collections.abc import Iterable, Mapping
from functools import cached_property
from typing import Any
from urllib.parse import unquote, urlsplit

from ciflow.dataclass import dataclass
from ciflow.supply.crates import Lock, parse_lock, parse_origin
from ciflow.supply.errors import LockError, MetadataError, UnsupportedError
from ciflow.supply.purls import purl

LARGEST = 64 * 1024 * 1024  # bytes of a lock file or bill of materials; of 900 crates they have 0.2 and 2 MB
_PLACE = re.compile(r'^name = "([^"\n]*)"\r?\nversion = "([^"\n]*)"', re.MULTILINE)
_PURL = re.compile(r"pkg:([A-Za-z0-9.+-]+)/([^@?#]+)(?:@([^?#]*))?(?:\?([^#]*))?(?:#.*)?")
_ECOSYSTEMS = {"cargo": "crates.io", "npm": "npm", "pypi": "PyPI", "golang": "Go"}


@dataclass(frozen=True)
class Part:
    """One package. `registry` is empty for the ecosystem's own and None for what is from no registry: a path, a
    repository. `line` is its place in a lock file, 0 elsewhere."""

    ref: str
    ecosystem: str
    name: str
    version: str
    registry: str | None = ""
    line: int = 0


@dataclass(frozen=True)
class Contents:
    """`uses` has the refs that each part needs; `roots` are what is built, and `products` their purls."""

    parts: tuple[Part, ...]
    uses: Mapping[str, tuple[str, ...]]
    roots: tuple[str, ...]
    names: Mapping[str, str]
    products: tuple[str, ...] = ()

    def chain(self, ref: str) -> tuple[str, ...]:
        """Why it is there: the shortest way from a root, as `name version`; empty where none leads to it."""
        way, at = [], ref
        while at in self._before:
            way.append(self.names[at])
            if self._before[at] == at:
                return tuple(reversed(way))
            at = self._before[at]
        return ()

    @cached_property
    def _before(self) -> Mapping[str, str]:
        """From each part one step nearer to a root (breadth first, so cycles end); a root is its own."""
        before = {root: root for root in self.roots}
        waiting = deque(self.roots)
        while waiting:
            at = waiting.popleft()
            for target in self.uses.get(at, ()):
                if target not in before:
                    before[target] = at
                    waiting.append(target)
        return before


def from_lock(text: str, file: str = "Cargo.lock") -> Contents:
    """The packages of a Cargo.lock.

    Raises:
        LockError: not a lock, too large, or a package that is in it twice.
    """
    if len(text) > LARGEST:
        raise LockError(f"{file} is larger than {LARGEST >> 20} MiB: no lock file is")
    lock = parse_lock(text)
    lines = _lines(text)
    parts: dict[str, Part] = {}
    for one in lock.packages:
        ref = f"{one.name} {one.version} ({one.source})"
        places = lines.get((one.name, one.version), [0])
        if ref in parts:
            raise LockError(f"{file}:{places[-1]}: {one.name} {one.version} is there twice, from the same source")
        line = places.pop(0) if len(places) > 1 else places[0]
        parts[ref] = Part(ref, "crates.io", one.name, one.version, _registry(one.source), line)
    uses = _uses(lock)
    needed = {target for targets in uses.values() for target in targets}
    members = [f"{one.name} {one.version} (None)" for one in lock.packages if one.source is None]
    roots = [ref for ref in members if ref not in needed] or members
    names = {ref: f"{part.name} {part.version}" for ref, part in parts.items()}
    products = tuple(purl("cargo", parts[root].name, parts[root].version) for root in roots)
    return Contents(tuple(parts.values()), uses, tuple(roots), names, products)


def _lines(text: str) -> Mapping[tuple[str, str], list[int]]:
    """Where packages stand, in order: the lines are counted once, for all."""
    found: defaultdict[tuple[str, str], list[int]] = defaultdict(list)
    at = line = 0
    for match in _PLACE.finditer(text):
        line += text.count("\n", at, match.start())
        at = match.start()
        found[match[1], match[2]].append(line + 1)
    return found


def _registry(source: str | None) -> str | None:
    if source is None:
        return None
    try:
        origin = parse_origin(source)
    except (MetadataError, UnsupportedError):
        return None
    return (origin.url if origin.kind == "other" else "") if origin.is_registry else None


def _uses(lock: Lock) -> Mapping[str, tuple[str, ...]]:
    """Cargo leaves the version and the source away where the rest is clear: each is looked up as it is written."""
    by_text: dict[str, str] = {}
    for one in lock.packages:
        ref = f"{one.name} {one.version} ({one.source})"
        for text in (one.name, f"{one.name} {one.version}", ref):
            by_text.setdefault(text, ref)
    return {
        f"{one.name} {one.version} ({one.source})": tuple(by_text[text] for text in one.dependencies if text in by_text)
        for one in lock.packages
    }


# --- bills of materials -------------------------------------------------------------------------------------


def from_bill(text: str, file: str) -> Contents:
    """The packages of a CycloneDX or an SPDX 2 document in JSON, by their purls.

    Raises:
        MetadataError: neither, or too large.
    """
    if len(text) > LARGEST:
        raise MetadataError(f"{file} is larger than {LARGEST >> 20} MiB")
    try:
        document = json.loads(text)
    except (json.JSONDecodeError, RecursionError) as e:
        raise MetadataError(f"{file} is not JSON: {e}") from e
    try:
        if document.get("bomFormat") == "CycloneDX":
            return _cyclonedx(document)
        if str(document.get("spdxVersion", "")).startswith("SPDX-2"):
            return _spdx(document)
    except (KeyError, TypeError, AttributeError, ValueError) as e:
        raise MetadataError(f"{file} lacks or misplaces {e}") from e
    raise MetadataError(f"{file} is neither a Cargo.lock nor a bill of materials (CycloneDX or SPDX 2, as JSON)")


def _cyclonedx(document: Mapping[str, Any]) -> Contents:
    top = document.get("metadata", {}).get("component")
    every = [*([top] if top else []), *_nested(document.get("components", ()))]
    known = [(str(one.get("bom-ref") or one.get("purl")), one.get("purl"), one) for one in every]
    uses = {str(one["ref"]): tuple(map(str, one.get("dependsOn", ()))) for one in document.get("dependencies", ())}
    roots = (known[0][0],) if top else ()
    return _contents(
        [(ref, purl, _label(one.get("name"), one.get("version"))) for ref, purl, one in known], uses, roots
    )


def _nested(components: Iterable[Mapping[str, Any]]) -> Iterable[Mapping[str, Any]]:
    """Components may hold components, to any depth that the parser let pass."""
    waiting = deque(components)
    while waiting:
        one = waiting.popleft()
        yield one
        waiting.extend(one.get("components", ()))


def _spdx(document: Mapping[str, Any]) -> Contents:
    known = []
    for one in document.get("packages", ()):
        purls = [ref["referenceLocator"] for ref in one.get("externalRefs", ()) if ref["referenceType"] == "purl"]
        known.append((str(one["SPDXID"]), purls[0] if purls else None, _label(one.get("name"), one.get("versionInfo"))))
    uses: defaultdict[str, list[str]] = defaultdict(list)
    roots = []
    for one in document.get("relationships", ()):
        source, target, kind = str(one["spdxElementId"]), str(one["relatedSpdxElement"]), one["relationshipType"]
        if kind in ("DEPENDS_ON", "CONTAINS"):
            uses[source].append(target)
        elif kind in ("DEPENDENCY_OF", "BUILD_DEPENDENCY_OF", "CONTAINED_BY"):
            uses[target].append(source)
        elif kind == "DESCRIBES":
            roots.append(target)
    return _contents(known, {ref: tuple(targets) for ref, targets in uses.items()}, tuple(roots))


def _label(name: object, version: object) -> str:
    return " ".join(str(one) for one in (name, version) if one)


def _contents(
    known: Iterable[tuple[str, str | None, str]], uses: Mapping[str, tuple[str, ...]], roots: tuple[str, ...]
) -> Contents:
    """What has no purl, or one of a kind that no database is about, is no part, but may be on a chain."""
    names, parts, purls = {}, [], {}
    for ref, url, label in known:
        names[ref] = label
        if isinstance(url, str):
            purls[ref] = url
            part = _part(ref, url)
            parts += [part] if part is not None else []
    whole = {ref: tuple(target for target in targets if target in names) for ref, targets in uses.items()}
    there = tuple(root for root in roots if root in names)
    return Contents(tuple(parts), whole, there, names, tuple(purls[root] for root in there if root in purls))


def _part(ref: str, url: str) -> Part | None:
    """A package URL (ECMA-427) as its ecosystem's databases name the package."""
    match = _PURL.fullmatch(url)
    if match is None or not match[3]:
        return None
    kind, path, version = match[1].lower(), unquote(match[2]).strip("/"), unquote(match[3])
    qualifiers = dict(one.partition("=")[::2] for one in (match[4] or "").split("&"))
    ecosystem = _ECOSYSTEMS.get(kind)
    if kind == "deb" and path.startswith("debian/"):
        release = re.fullmatch(r"debian-(\d+)(?:\.\d+)*", qualifiers.get("distro", ""))
        ecosystem, path = f"Debian:{release[1]}" if release else "Debian", path.rpartition("/")[2]
    if ecosystem is None:
        return None
    name = re.sub(r"[-_.]+", "-", path).lower() if kind == "pypi" else path
    origin: str | None = unquote(qualifiers.get("repository_url", ""))
    if "vcs_url" in qualifiers:
        origin = None
    if origin and urlsplit(origin).hostname in ("crates.io", "index.crates.io"):
        origin = ""
    return Part(ref, ecosystem, name, version, origin)
