"""What crates of a registry say of themselves, from the manifests that they were unpacked with.

Cargo writes the manifest of a published crate anew (the Cargo book, "cargo package"): nothing in it is inherited from
a workspace, and its `[package]` says what `cargo metadata` would. That saves asking cargo a second time, which takes
as long as its plan of the build. Whatever looks otherwise is for `cargo metadata`.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Collection, Mapping
from dataclasses import replace
from functools import lru_cache
from typing import Any

from ciflow.supply.crates import Graph, Package, parse_package
from ciflow.supply.errors import MetadataError, UnsupportedError
from ciflow.supply.unit_graph import UnitGraph

_ID = re.compile(r"((?:registry|sparse)\+[^#]+)#([A-Za-z0-9_-]+)@([0-9A-Za-z.+-]+)")
_TABLE = re.compile(r"(?:[ \t]*(?:#[^\n]*)?\r?\n)*\[package\]\r?\n(.*?)(?=^\[|\Z)", re.MULTILINE | re.DOTALL)
# A line of a table as cargo writes it: a text without escapes, an array of such texts, or a truth value.
_PLAIN = r'"[^"\\\x00-\x1f\x7f]*"'
_LINE = re.compile(
    rf"(?:#[^\x00-\x08\x0a-\x1f\x7f]*)?\n|"
    rf"([A-Za-z-]+) = (?:({_PLAIN})|(true|false)|\[((?:[ \n]*{_PLAIN},)*(?:[ \n]*{_PLAIN})?)[ \n]*\])\n"
)
_TEXT = re.compile('"([^"]*)"')
_HEADING = re.compile(r"^==> (.*) <==\n", re.MULTILINE)
_TEXTS = ("license", "license-file", "description", "homepage", "repository", "documentation")


def fetched(units: UnitGraph, members: Collection[str]) -> dict[str, str] | None:
    """Where the manifest of each package but the members should lie, by id; None where one is not from a registry, or
    does not lie where cargo unpacks and vendors crates."""
    files = {unit.package: unit.file for unit in units.units if unit.package not in members}
    found = {id_: _manifest(id_, file) for id_, file in files.items()}
    told = {id_: path for id_, path in found.items() if path is not None}
    return told if len(told) == len(files) else None


def _manifest(id_: str, file: str) -> str | None:
    """Above a source file, in the folder called as its crate: `name-version`, or `name` among vendored crates."""
    match = _ID.fullmatch(id_)
    if match is None or "\n" in file or not file.startswith("/"):
        return None
    name = f"/{match[2]}-{match[3]}/" if f"/{match[2]}-{match[3]}/" in file else f"/{match[2]}/"
    folder, here, _ = file.partition(name)
    return f"{folder}{here}Cargo.toml" if here else None


def completed(graph: Graph, units: UnitGraph, said: Mapping[str, tuple[str, str]]) -> Graph | None:
    """The workspace with what was fetched, of which `said` has the manifest's path and text by id. None where a
    manifest is not one that cargo wrote for that package."""
    kinds: dict[str, frozenset[str]] = {}
    for unit in units.units:
        kinds[unit.package] = kinds.get(unit.package, frozenset()) | unit.kinds
    packages = dict(graph.packages)
    for id_, (path, text) in said.items():
        package = package_of(id_, path, text)
        if package is None:
            return None
        packages[id_] = replace(package, target_kinds=kinds[id_])
    return replace(graph, packages=packages)


@lru_cache(maxsize=8192)
def package_of(id_: str, path: str, text: str) -> Package | None:
    """What a manifest says of a package, all but its targets; None where cargo did not write it for that one."""
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
    raw |= {"id": id_, "source": match[1], "name": match[2], "version": match[3], "authors": authors}
    raw |= {"manifest_path": path, "targets": []}
    try:
        return parse_package(raw, "", ())
    except (MetadataError, UnsupportedError):
        return None


def _said(text: str) -> Mapping[str, Any] | None:
    """`[package]` alone, the first table, which takes a tenth of the time; a cut within a text of several lines leaves
    that text without its end, and then it is all of the manifest that is read."""
    table = _TABLE.match(text)
    quick = _as_written(table[1]) if table else None
    if quick is not None:
        return quick
    for part in ([table[0]] if table else []) + [text]:
        try:
            said = tomllib.loads(part).get("package")
        except (ValueError, RecursionError):
            continue
        return said if isinstance(said, dict) else None
    return None


def _as_written(table: str) -> Mapping[str, Any] | None:
    """The lines of a table in the plain form that cargo writes; None at the first that has another, which is for the
    parser to understand."""
    said: dict[str, Any] = {}
    at, most = 0, len(table)
    while at < most:
        line = _LINE.match(table, at)
        if line is None:
            return None
        key, text, truth, array = line.groups()
        if key in said:
            return None
        if key:
            said[key] = text[1:-1] if text else truth == "true" if truth else _TEXT.findall(array)
        at = line.end()
    return said


def parted(output: str, files: Mapping[str, str]) -> dict[str, tuple[str, str]] | None:
    """What `head -v` said of the manifests: `==> PATH <==` above each. None where other headings are in it than those
    of the files in their order, also where a manifest holds a line that looks like one."""
    pieces = _HEADING.split(output)
    if pieces[1::2] != list(files.values()) or pieces[0]:
        return None
    return {id_: (path, ended(piece)) for (id_, path), piece in zip(files.items(), pieces[2::2], strict=True)}


def ended(text: str) -> str:
    """With one end of a line, whatever there was: programs put lines between files."""
    return text.rstrip() + "\n"
