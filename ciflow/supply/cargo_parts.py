"""One Cargo package as a component: names, hashes, makers, links."""

from __future__ import annotations

import posixpath
from collections.abc import Iterable, Mapping
from urllib.parse import urlsplit

from ciflow.dataclass import dataclass
from ciflow.supply import licenses
from ciflow.supply.crates import Lock, Package
from ciflow.supply.errors import LockError
from ciflow.supply.model import Component, Deployable, Hash, Kind, Party, Reference, ReferenceKind, Scope


@dataclass(frozen=True)
class Describer:
    """`sha512` of `.crate` files by their paths; `supplier` hands out what is in the workspace itself."""

    refs: Mapping[str, str]
    lock: Lock
    sha512: Mapping[str, str]
    supplier: Party | None

    def component(self, package: Package, scope: Scope, features: tuple[str, ...], root: bool) -> Component:
        program = package.has_binary and (root or not package.has_library)
        hashes = self._hashes(package)
        expression = licenses.normalise(package.licence) if package.licence else None
        supplied = Party(package.origin.supplier) if package.origin.supplier else self.supplier
        return Component(
            ref=self.refs[package.id],
            kind=Kind.APPLICATION if program else Kind.LIBRARY,
            name=package.name,
            version=package.version,
            purl=package.purl,
            scope=scope,
            hashes=hashes,
            licence=expression or package.licence,
            concluded=expression,
            description=package.description,
            supplier=supplied,
            manufacturer=_manufacturer(package, self.supplier),
            authors=package.authors,
            references=tuple(_references(package, hashes)),
            download=package.download(),
            file=_archive(package),
            properties=tuple(_properties(package, features)),
        )

    def _hashes(self, package: Package) -> tuple[Hash, ...]:
        locked = self.lock.find(package)
        if not package.origin.is_registry:
            return ()
        if locked.checksum is None:
            raise LockError(f"Cargo.lock has no checksum for {package.name} {package.version}")
        hashes = [Hash("SHA-256", locked.checksum)]
        if sha512 := self.sha512.get(package.cached() or ""):
            hashes.append(Hash("SHA-512", sha512))
        return tuple(hashes)


def _manufacturer(package: Package, own: Party | None) -> Party | None:
    """Who made it and can be reached: an author with an address, else the project by its own page."""
    if package.source is None and own is not None:
        return own
    for author in package.authors:
        if author.email and "@" in author.email:
            return author
    page = package.repository or package.homepage
    if page is None and package.origin.kind == "registry":
        page = f"https://crates.io/crates/{package.name}"
    if page is None:
        return package.authors[0] if package.authors else None
    return Party(package.authors[0].name if package.authors else _project(page), url=page)


def _project(page: str) -> str:
    """`github.com/owner` of a repository there, which is who keeps it."""
    parts = urlsplit(page)
    owner = parts.path.strip("/").split("/")[0]
    return f"{parts.hostname}/{owner}" if owner else str(parts.hostname)


def _archive(package: Package) -> Deployable | None:
    """What a registry hands out: a gzipped tar, whose parts can be told apart."""
    if not package.origin.is_registry:
        return None
    return Deployable(f"{package.name}-{package.version}.crate", archive=True, structured=True)


def _references(package: Package, hashes: tuple[Hash, ...]) -> Iterable[Reference]:
    if package.origin.is_registry:
        if url := package.download():
            yield Reference(ReferenceKind.SOURCE, url)
            yield Reference(ReferenceKind.DISTRIBUTION, url, hashes)
        if package.repository:
            yield Reference(ReferenceKind.VCS, package.repository)
    elif url := package.download() or package.repository:
        yield Reference(ReferenceKind.VCS, url)
    if package.homepage:
        yield Reference(ReferenceKind.WEBSITE, package.homepage)
    if package.documentation:
        yield Reference(ReferenceKind.DOCUMENTATION, package.documentation)


def _properties(package: Package, features: tuple[str, ...]) -> Iterable[tuple[str, str]]:
    if features:
        yield "cargo:features", ",".join(features)
    if package.path is not None:
        yield "cargo:path", package.path
    if package.proc_macro:
        yield "cargo:proc-macro", "true"


@dataclass(frozen=True)
class Built:
    """A file that the build made, to be handed out."""

    path: str
    hashes: tuple[Hash, ...]

    @property
    def file(self) -> Deployable:
        """A program or a shared library runs; an `.a` is an archive that keeps its parts apart."""
        name = posixpath.basename(self.path)
        static = name.endswith((".a", ".rlib", ".lib"))
        return Deployable(name, executable=not static, archive=static, structured=static)
