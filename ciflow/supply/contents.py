"""What is looked up in databases of advisories: the packages of a Cargo.lock, or of a bill of materials."""

from __future__ import annotations

import re
from collections import defaultdict, deque
from collections.abc import Mapping
from functools import cached_property
from urllib.parse import urlsplit

from ciflow.dataclass import dataclass
from ciflow.supply import purls
from ciflow.supply.crates import Lock, parse_lock, parse_origin
from ciflow.supply.errors import DocumentError, LockError, MetadataError, SupplyError, UnsupportedError
from ciflow.supply.model import Component

LARGEST = 64 * 1024 * 1024  # characters of a lock file; of 900 crates it has 0.2 million
_PLACE = re.compile(r'^name = "([^"\n]*)"\r?\nversion = "([^"\n]*)"', re.MULTILINE)
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
    products = tuple(purls.purl("cargo", parts[root].name, parts[root].version) for root in roots)
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


def from_bill(content: bytes, file: str) -> Contents:
    """The packages of a bill of materials in any format that is read, by their purls. What has none, or one of a kind
    that no database is about, is no part, but may be on a chain.

    Raises:
        SupplyError: damaged, or no bill; with the file and the place in it.
    """
    from ciflow.supply.formats import read

    try:
        bom = read(content)[1].bom
    except SupplyError as e:
        raise DocumentError(f"{file}: {e}") from e
    uses: defaultdict[str, list[str]] = defaultdict(list)
    for relation in bom.relations:
        uses[relation.source].append(relation.target)
    return Contents(
        parts=tuple(part for one in bom.everything() if (part := _part(one)) is not None),
        uses={ref: tuple(targets) for ref, targets in uses.items()},
        roots=(bom.subject.ref,),
        names={one.ref: " ".join(filter(None, (one.name, one.version))) for one in bom.everything()},
        products=(bom.subject.purl,) if bom.subject.purl else (),
    )


def _part(component: Component) -> Part | None:
    """A component as the databases of its ecosystem name the package."""
    try:
        found = purls.parse(component.purl or "")
    except SupplyError:
        return None
    if found.version is None:
        return None
    qualifiers = dict(found.qualifiers)
    ecosystem, name = _ECOSYSTEMS.get(found.kind), "/".join(filter(None, (found.namespace, found.name)))
    if (found.kind, found.namespace) == ("deb", "debian"):
        release = re.fullmatch(r"debian-(\d+)(?:\.\d+)*", qualifiers.get("distro", ""))
        ecosystem, name = f"Debian:{release[1]}" if release else "Debian", found.name
    if ecosystem is None:
        return None
    if ecosystem == "PyPI":
        name = re.sub(r"[-_.]+", "-", name).lower()
    origin: str | None = qualifiers.get("repository_url", "")
    if "vcs_url" in qualifiers:
        origin = None
    if origin and urlsplit(origin).hostname in ("crates.io", "index.crates.io"):
        origin = ""
    return Part(component.ref, ecosystem, name, found.version, origin)
