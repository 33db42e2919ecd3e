"""What crates of a registry say of themselves, from the manifests that they were unpacked with.

Cargo writes the manifest of a published crate anew (the Cargo book, "cargo package"): nothing in it is inherited from
a workspace, and its `[package]` says what `cargo metadata` would. That saves asking cargo a second time, which takes
as long as its plan of the build. Whatever looks otherwise is for `cargo metadata`.
"""

from __future__ import annotations

import posixpath
import re
import tomllib
from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Any

from ciflow.supply.crates import Graph, Package, parse_package
from ciflow.supply.errors import MetadataError, UnsupportedError
from ciflow.supply.unit_graph import UnitGraph

_ID = re.compile(r"((?:registry|sparse)\+[^#]+)#([A-Za-z0-9_-]+)@([0-9A-Za-z.+-]+)")
_TABLE = re.compile(r"(?:[ \t]*(?:#[^\n]*)?\r?\n)*\[package\]\r?\n.*?(?=^\[|\Z)", re.MULTILINE | re.DOTALL)
_TEXTS = ("license", "license-file", "description", "homepage", "repository", "documentation")


def fetched(units: UnitGraph, members: Collection[str]) -> dict[str, str] | None:
    """A source file of each package but the members, by id; None where one is not from a registry."""
    files = {unit.package: unit.file for unit in units.units if unit.package not in members}
    strange = (not _ID.fullmatch(id_) or "\n" in file or not file.startswith("/") for id_, file in files.items())
    return None if any(strange) else files


def completed(graph: Graph, units: UnitGraph, said: Mapping[str, tuple[str, str]]) -> Graph | None:
    """The workspace with what was fetched, of which `said` has the manifest's path and text by id. None where a
    manifest is not one that cargo wrote for that package."""
    kinds: dict[str, frozenset[str]] = {}
    for unit in units.units:
        kinds[unit.package] = kinds.get(unit.package, frozenset()) | unit.kinds
    packages = dict(graph.packages)
    for id_, (path, text) in said.items():
        package = _package(id_, path, text, graph.root)
        if package is None:
            return None
        packages[id_] = replace(package, target_kinds=kinds[id_])
    return replace(graph, packages=packages)


def _package(id_: str, path: str, text: str, root: str) -> Package | None:
    match = _ID.fullmatch(id_)
    said = _said(text)
    if match is None or said is None or (said.get("name"), said.get("version")) != match.group(2, 3):
        return None
    if not all(isinstance(said.get(key, ""), str) for key in _TEXTS):
        return None
    authors = said.get("authors", [])
    if not isinstance(authors, list) or not all(isinstance(author, str) for author in authors):
        return None
    raw = {key.replace("-", "_"): said[key] for key in _TEXTS if key in said}
    raw |= {"id": id_, "source": match[1], "name": match[2], "version": match[3], "authors": authors, "targets": []}
    try:
        return parse_package({**raw, "manifest_path": path}, root, ())
    except (MetadataError, UnsupportedError):
        return None


def _said(text: str) -> Mapping[str, Any] | None:
    """`[package]` alone, the first table, which takes a tenth of the time; a cut within a text of several lines leaves
    that text without its end, and then it is all of the manifest that is read."""
    table = _TABLE.match(text)
    for part in ([table[0]] if table else []) + [text]:
        try:
            said = tomllib.loads(part).get("package")
        except (tomllib.TOMLDecodeError, RecursionError):
            continue
        return said if isinstance(said, dict) else None
    return None


def parted(output: str, files: Mapping[str, str]) -> dict[str, tuple[str, str]] | None:
    """What the host said of the manifests: a line of size in bytes and path for each file, an empty line, and then
    their contents one behind the other. None where that does not come out even."""
    head, _, rest = output.partition("\n\n")
    lines = [line.partition(" ") for line in head.split("\n")]
    content = rest.encode("utf-8", "surrogateescape")
    if len(lines) != len(files) or not all(size.isdecimal() for size, _, _ in lines):
        return None
    found, at = {}, 0
    for id_, (size, _, path) in zip(files, lines, strict=True):
        piece = content[at : at + int(size)]
        at += int(size)
        if not files[id_].startswith(posixpath.dirname(path) + "/"):
            return None
        found[id_] = (path, piece.decode("utf-8", "replace"))
    return found if at == len(content) else None
