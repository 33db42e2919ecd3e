"""Cargo's texts as values: packages and edges of `cargo metadata`, checksums of Cargo.lock.

Formats: the Cargo book, "cargo metadata" (format version 1), "Package ID specifications" and "Cargo.toml vs
Cargo.lock"; package URL type `cargo` (purl-spec, types/cargo).
"""

from __future__ import annotations

import json
import posixpath
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from functools import cached_property, lru_cache
from typing import Any
from urllib.parse import quote, urlsplit, urlunsplit

from ciflow.dataclass import dataclass
from ciflow.supply.errors import LockError, MetadataError, UnsupportedError
from ciflow.supply.model import Dependency, Party
from ciflow.supply.parties import parse_party
from ciflow.supply.purls import purl

_CRATES_IO = {"https://github.com/rust-lang/crates.io-index", "https://index.crates.io/"}
_CRATES_IO_DOWNLOAD = "https://crates.io/api/v1/crates"
_HEAD = re.compile(r"(?:#[^\x00-\x08\x0a-\x1f\x7f]*\n)*(?:version = [34]\n)\n")
_BLOCK = re.compile(
    r'\[\[package\]\]\nname = "([A-Za-z0-9_-]+)"\nversion = "([0-9A-Za-z.+-]+)"\n'
    r'(?:source = "([!#-\[\]-~]+)"\n)?(?:checksum = "([0-9a-f]{64})"\n)?'
    r'(?:dependencies = \[\n((?: "[ !#-\[\]-~]+",\n)+)\]\n)?(?:\n|\Z)'
)
_TEXT = re.compile('"([^"]+)"')
_LINK = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://[^/]")
_PLAIN = re.compile(r"[A-Za-z0-9_.~/:?&=%#-]*\Z")  # what no quoting changes
_DEPLOYED = {"bin", "cdylib", "staticlib"}


@dataclass(frozen=True)
class Origin:
    """Where a package comes from: `kind` is `path`, `git`, `registry` (of crates.io) or `other` (another one)."""

    kind: str
    url: str = ""
    commit: str = ""

    @property
    def is_registry(self) -> bool:
        return self.kind in ("registry", "other")

    @property
    def supplier(self) -> str | None:
        """The host that hands it out; nobody, for a path."""
        return {"registry": "crates.io", "path": None}.get(self.kind, urlsplit(self.url).hostname)

    @property
    def vcs(self) -> str:
        """SPDX 2.3 clause 7.7: `git+https://host/repository@commit`."""
        return f"git+{self.url}@{self.commit}"

    def purl(self, name: str, version: str) -> str:
        match self.kind:
            case "git":
                return purl("cargo", name, version, [("vcs_url", self.vcs)])
            case "other":
                return purl("cargo", name, version, [("repository_url", self.url)])
        return purl("cargo", name, version)

    def download(self, name: str, version: str) -> str | None:
        """Where a package can be had; unknown for another registry, whose index alone says."""
        if self.kind == "git":
            return self.vcs
        return f"{_CRATES_IO_DOWNLOAD}/{name}/{quote(version, safe='')}/download" if self.kind == "registry" else None


@lru_cache(maxsize=4096)
def parse_origin(source: str | None) -> Origin:
    """A `source` of Cargo: `registry+URL`, `sparse+URL`, `git+URL?rev=..#COMMIT`, None for a path."""
    if source is None:
        return Origin("path")
    kind, _, url = source.partition("+")
    if kind in ("registry", "sparse"):
        return Origin("registry") if url in _CRATES_IO else Origin("other", _without_password(url))
    if kind == "git":
        parts = urlsplit(url)
        if not parts.fragment:
            raise MetadataError(f"a git source without its commit: {source}")
        return Origin("git", _without_password(urlunsplit((*parts[:3], "", ""))), parts.fragment)
    raise UnsupportedError(f"packages from a source of the kind {kind!r} are not covered: {source}")


def _without_password(url: str) -> str:
    """A token in a URL must not get into a document; the user of an ssh address is part of the address."""
    parts = urlsplit(url)
    if parts.username is None or (parts.scheme == "ssh" and parts.password is None):
        return url
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))


@dataclass(frozen=True)
class Package:
    """One package; `path` is relative to the workspace, and None for what was fetched.

    `folder` is where its manifest lies on the machine that built it; it never gets into a document.
    """

    id: str
    name: str
    version: str
    source: str | None
    origin: Origin
    target_kinds: frozenset[str]
    features: tuple[str, ...] = ()
    path: str | None = None
    folder: str = ""
    licence: str | None = None
    description: str | None = None
    authors: tuple[Party, ...] = ()
    homepage: str | None = None
    repository: str | None = None
    documentation: str | None = None

    @property
    def proc_macro(self) -> bool:
        return "proc-macro" in self.target_kinds

    @property
    def has_binary(self) -> bool:
        return "bin" in self.target_kinds

    @property
    def has_library(self) -> bool:
        return bool(self.target_kinds - {"bin", "example", "test", "bench", "custom-build"})

    @property
    def deployable(self) -> bool:
        return bool(self.target_kinds & _DEPLOYED)

    def cached(self) -> str | None:
        """The archive that Cargo unpacked it from (the Cargo book, "Cargo Home"); a vendored crate has none."""
        head, source, tail = self.folder.rpartition("/registry/src/")
        return f"{head}/registry/cache/{tail}.crate" if source and self.origin.is_registry else None

    def place(self) -> str:
        """What tells it from a package of the same name and version elsewhere; never an absolute path."""
        return f"path {self.path}" if self.source is None else self.source

    @cached_property
    def purl(self) -> str:
        return self.origin.purl(self.name, self.version)

    def download(self) -> str | None:
        return self.origin.download(self.name, self.version)


@dataclass(frozen=True)
class Edge:
    """`condition` is the platform it is for, as the manifest writes it."""

    target: str
    kind: Dependency
    condition: str | None


@dataclass(frozen=True)
class Graph:
    """The resolved workspace, by package id; dependencies for tests are left out."""

    root: str
    members: tuple[str, ...]
    default_members: tuple[str, ...]
    packages: Mapping[str, Package]
    edges: Mapping[str, tuple[Edge, ...]]

    @property
    def workspace_name(self) -> str:
        return posixpath.basename(self.root.rstrip("/")) or "workspace"


NOT_TOLD: Mapping[str, tuple[Edge, ...]] = {}


def parse_metadata(text: str) -> Graph:
    """Read `cargo metadata`.

    Raises:
        MetadataError: not JSON, not format version 1, or made with `--no-deps`.
        UnsupportedError: artifact dependencies and unknown kinds of sources.
    """
    document = _document(text)
    if document.get("resolve") is None:
        raise MetadataError("cargo metadata was run with --no-deps: the dependencies are missing")
    return _placed(document)


def parse_members(text: str) -> Graph:
    """Read `cargo metadata`, with `--no-deps` or without: with it, there are the members alone, and edges are
    NOT_TOLD.

    Raises:
        MetadataError, UnsupportedError: see `parse_metadata`.
    """
    return _placed(_document(text))


def _document(text: str) -> Mapping[str, Any]:
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as e:
        raise MetadataError(f"the output of cargo metadata is not JSON: {e}") from e
    if not isinstance(document, dict) or document.get("version") != 1:
        raise MetadataError("not the output of `cargo metadata --format-version 1`")
    return document


def _placed(document: Mapping[str, Any]) -> Graph:
    try:
        return _graph(document)
    except (KeyError, TypeError, AttributeError) as e:
        raise MetadataError(f"the output of cargo metadata lacks or misplaces {e}") from e


def _graph(document: Mapping[str, Any]) -> Graph:
    root: str = document["workspace_root"]
    resolve = document.get("resolve")
    nodes = {node["id"]: node for node in resolve["nodes"]} if resolve else {}
    packages = {
        p["id"]: parse_package(p, root, nodes[p["id"]]["features"] if resolve else ())
        for p in document["packages"]
        if not resolve or p["id"] in nodes
    }
    members = tuple(document["workspace_members"])
    return Graph(
        root=root,
        members=members,
        default_members=tuple(document.get("workspace_default_members", members)),
        packages=packages,
        edges={id_: tuple(_edges(node)) for id_, node in nodes.items()} if resolve else NOT_TOLD,
    )


def parse_package(raw: Mapping[str, Any], root: str, features: Iterable[str]) -> Package:
    """One of `packages`, in the workspace that lies at `root`."""
    source: str | None = raw["source"]
    directory = posixpath.dirname(raw["manifest_path"].replace("\\", "/"))
    return Package(
        id=raw["id"],
        name=raw["name"],
        version=raw["version"],
        source=source,
        origin=parse_origin(source),
        target_kinds=frozenset(kind for target in raw["targets"] for kind in target["kind"]),
        features=tuple(sorted(features)),
        path=posixpath.relpath(directory, root.replace("\\", "/")) if source is None else None,
        folder=directory,
        licence=raw.get("license") or _licence_file(raw),
        description=_text(raw, "description"),
        authors=tuple(_authors(raw.get("authors") or ())),
        homepage=_url(raw, "homepage"),
        repository=_url(raw, "repository"),
        documentation=_url(raw, "documentation"),
    )


def _licence_file(raw: Mapping[str, Any]) -> str | None:
    file = raw.get("license_file")
    return f"see {posixpath.basename(file)}" if file else None


def _text(raw: Mapping[str, Any], key: str) -> str | None:
    text: str | None = raw.get(key)
    return text.strip() or None if text else None


def _url(raw: Mapping[str, Any], key: str) -> str | None:
    """Manifests hold any text here; what a URL may not hold is quoted, and what has no scheme is no link."""
    text = _text(raw, key)
    if text is None or not _LINK.match(text):
        return None
    return text if _PLAIN.match(text) else quote(text, safe="/:?#[]@!$&'()*+,;=%~")


def _authors(texts: Iterable[str]) -> Iterator[Party]:
    for text in texts:
        if party := parse_party(text):
            yield party


def _edges(node: Mapping[str, Any]) -> Iterator[Edge]:
    for dependency in node["deps"]:
        for kind in dependency["dep_kinds"]:
            if "artifact" in kind:
                raise UnsupportedError(f"{node['id']} has an artifact dependency; these are not covered")
            if kind["kind"] != "dev":
                use = Dependency.BUILD if kind["kind"] == "build" else Dependency.NORMAL
                yield Edge(dependency["pkg"], use, kind["target"])


@dataclass(frozen=True)
class Locked:
    """One package of Cargo.lock; a checksum is the SHA-256 of a `.crate` file.

    `dependencies` are as written: a name, and behind it the version and the source where a name alone is ambiguous.
    """

    name: str
    version: str
    source: str | None
    checksum: str | None
    dependencies: tuple[str, ...] = ()


@dataclass(frozen=True)
class Lock:
    """Cargo.lock, of any version so far (1 to 4)."""

    packages: tuple[Locked, ...]

    @cached_property
    def by_name(self) -> Mapping[str, tuple[Locked, ...]]:
        found: defaultdict[str, list[Locked]] = defaultdict(list)
        for package in self.packages:
            found[package.name].append(package)
        return {name: tuple(packages) for name, packages in found.items()}

    @cached_property
    def _by_key(self) -> Mapping[tuple[str, str, str | None], Locked]:
        return {(p.name, p.version, _key(p.source)): p for p in self.packages}

    def find(self, package: Package) -> Locked:
        """The entry of a package.

        Raises:
            LockError: there is none, so this lock is not the one the metadata was made with.
        """
        found = self._by_key.get((package.name, package.version, _key(package.source)))
        if found is None:
            raise LockError(f"Cargo.lock does not know {package.name} {package.version}: is it of this workspace?")
        return found


def _key(source: str | None) -> str | None:
    """Lock version 4 writes the query of a git source otherwise than metadata does; the commit decides."""
    if source is None or not source.startswith("git+"):
        return source
    parts = urlsplit(source)
    return urlunsplit(parts._replace(query=""))


@lru_cache(maxsize=2)
def parse_lock(text: str) -> Lock:
    """Read Cargo.lock.

    Raises:
        LockError: not TOML, or not of that form.
    """
    quick = _as_written(text)
    if quick is not None:
        return quick
    import tomllib

    try:
        document = tomllib.loads(text)
    except (ValueError, RecursionError) as e:
        raise LockError(f"Cargo.lock is not TOML: {e}") from e
    try:
        old = document.get("metadata", {})
        return Lock(tuple(_locked(raw, old) for raw in document.get("package", [])))
    except (KeyError, TypeError, AttributeError) as e:
        raise LockError(f"Cargo.lock lacks or misplaces {e}") from e


def _as_written(text: str) -> Lock | None:
    """A lock in the very form that cargo writes since version 3, which takes a tenth of the time that TOML does. None
    at the first letter that has another form: then it is for the parser to say what it means."""
    head = _HEAD.match(text)
    at, packages = head.end() if head else 0, []
    while at < len(text):
        block = _BLOCK.match(text, at)
        if block is None:
            return None
        name, version, source, checksum, dependencies = block.groups()
        packages.append(Locked(name, version, source, checksum, tuple(_TEXT.findall(dependencies or ""))))
        at = block.end()
    return Lock(tuple(packages)) if head else None


def _locked(raw: Mapping[str, Any], old: Mapping[str, str]) -> Locked:
    name, version, source = raw["name"], raw["version"], raw.get("source")
    checksum = raw.get("checksum") or old.get(f"checksum {name} {version} ({source})")
    if checksum is not None and not re.fullmatch("[0-9a-f]{64}", checksum):
        raise LockError(f"Cargo.lock has no SHA-256 as checksum of {name} {version}")
    dependencies = tuple(raw.get("dependencies", ()))
    texts = (name, version, *dependencies, *([] if source is None else [source]))
    if not all(isinstance(text, str) for text in texts):
        raise LockError(f"Cargo.lock: package {name!r} has something else where a text belongs")
    return Locked(name, version, source, checksum, dependencies)
