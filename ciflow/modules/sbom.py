"""`sbom`: what a workspace, a lock, a program, a folder or an image is made of, as CycloneDX and SPDX documents."""

from __future__ import annotations

import hashlib
import posixpath
from collections.abc import Generator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ciflow import __version__
from ciflow.dataclass import dataclass
from ciflow.model import Change, Context, Exec, Mkdir, Outcome, Probe, Read, Reply, Step, Steps, Write
from ciflow.modules import sbom_path
from ciflow.modules.cargo import missing
from ciflow.modules.execute import whole_stdout
from ciflow.modules.replies import failure, text, well
from ciflow.modules.rust import refused
from ciflow.modules.sbom_path import Listing

if TYPE_CHECKING:
    from ciflow.supply.cargo_parts import Built
    from ciflow.supply.crates import Graph
    from ciflow.supply.model import Bom, Creation
    from ciflow.supply.unit_graph import UnitGraph

# Line 1: what cargo knows of the workspace itself. Line 2: its plan of the build; nothing where it makes none, `failed`
# and why where it can't. Both are asked for at once. RUSTC_BOOTSTRAP lets a stable cargo print its plan; nothing is
# compiled.
_LOOK = """\
features=$1; shift
set -f
{
  why=$(RUSTC_BOOTSTRAP=1 cargo build -Z unstable-options --unit-graph --locked $features "$@" 2>&1 >&3 3>&-) ||
  case $why in *unit-graph*|*'`-Z`'*) ;; *) printf 'failed\\n%s\\n' "$why" ;; esac
} 3>&1 | {
  cargo metadata --no-deps --locked --format-version=1 $features || exit
  exec cat
}
"""
# All that cargo knows of packages. It takes as long as the plan, and waits for it: both lock the cache of packages.
_ALL = "set -f; exec cargo metadata --locked --format-version=1 $1\n"
# What files begin with, each below its name.
_CONTENTS = ("xargs", "-0", "head", "-v", "-c", "1000000")
# Line 1: the build host's triple; then the cfg of the platform built for.
_PLATFORM = 'rustc -vV | sed -n "s/^host: //p"; exec rustc --print cfg ${1:+--target "$1"}\n'
_SUMS = ("xargs", "-0", "-r")


@dataclass(frozen=True)
class Told:
    """What the host says of a workspace."""

    graph: Graph
    units: UnitGraph | None
    lock: str
    platform: str
    sha512: Mapping[str, str]
    built: tuple[Built, ...]


def run(args: Mapping[str, Any], context: Context) -> Steps:
    """Ask the host, reckon here, write the documents there."""
    found = (yield from sbom_path.look(args, context)) if args.get("path") or args["lock_only"] else None
    exact = False
    if found is None:
        told = yield from ask(args, context)
        if isinstance(told, Outcome):
            return told
        exact, found = told.units is not None, _bill(args, told)
    if isinstance(found, Outcome):
        return found
    listing = found if isinstance(found, Listing) else listed(args, context, found, exact=exact)
    if isinstance(listing, Outcome):
        return listing
    return (yield from _written(args, listing.contents, listing.counts))


def _folder(args: Mapping[str, Any]) -> str:
    """Where cargo works."""
    place = sbom_path.place(args)
    return posixpath.dirname(place) if posixpath.basename(place) == "Cargo.toml" else place


def _bill(args: Mapping[str, Any], told: Told) -> Bom | Outcome:
    from ciflow.supply.errors import SupplyError

    try:
        return bill(args, told)
    except SupplyError as error:
        return _refused(error)


def ask(args: Mapping[str, Any], context: Context) -> Generator[Step, Reply, Told | Outcome]:
    """All that a bill of materials is made of; the host is only asked."""
    looked = yield from _look(args, context)
    if isinstance(looked, Outcome):
        return looked
    graph, units = looked
    lock = yield Probe(Read(path=posixpath.join(graph.root, "Cargo.lock")))
    if not well(lock):
        return failure(lock, what="a bill of materials needs the lock file")
    platform = ""
    if units is None:
        argv = ("/bin/sh", "-c", _PLATFORM, "rustc", args.get("target", ""))
        said = yield Probe(Exec(argv=argv, cwd=_folder(args), env=context.environment))
        if not well(said):
            return failure(said, what=f"rustc can't tell the platform: {text(said.stderr).strip()}")
        platform = text(said.stdout)
    sha512 = (yield from _archives(graph, context)) if args["sha512"] else {}
    built = yield from _built(args, context)
    if isinstance(built, Outcome):
        return built
    return Told(graph, units, text(lock.stdout), platform, sha512, built)


Looked = Generator[Step, Reply, "tuple[Graph, UnitGraph | None] | Outcome"]


def _look(args: Mapping[str, Any], context: Context) -> Looked:
    """The packages and the plan. Manifests of crates are read where they are enough, for that is quick."""
    from ciflow.supply import crates
    from ciflow.supply.errors import SupplyError
    from ciflow.supply.unit_graph import parse_unit_graph

    said = yield from _cargo(args, context, _LOOK, _selection(args))
    if isinstance(said, Outcome):
        return said
    metadata, _, plan = said.partition("\n")
    try:
        graph = crates.parse_members(metadata)
        units = parse_unit_graph(plan) if plan.strip() else None
        if graph.edges is crates.NOT_TOLD and units is not None:
            whole = yield from _manifests(graph, units, context)
            if whole is not None:
                return whole, units
        if graph.edges is crates.NOT_TOLD:
            said = yield from _cargo(args, context, _ALL, [])
            if isinstance(said, Outcome):
                return said
            graph = crates.parse_metadata(said)
    except SupplyError as error:
        return _refused(error)
    return graph, units


def _manifests(graph: Graph, units: UnitGraph, context: Context) -> Generator[Step, Reply, Graph | None]:
    """None where not all that was fetched is of registries, and as cargo unpacked it."""
    from ciflow.supply import manifests

    files = manifests.fetched(units, graph.packages)
    if files is None:
        return None
    said: dict[str, tuple[str, str]] | None = {}
    if files:
        stdin = "".join(file + "\0" for file in files.values()).encode("utf-8", "surrogateescape")
        reply = yield Probe(Exec(argv=_CONTENTS, stdin=stdin, env=context.environment))
        output = yield from whole_stdout(reply)
        told = output if well(reply) and isinstance(output, bytes) else b""
        said = manifests.parted(told.decode("utf-8", "replace"), files)
    return manifests.completed(graph, units, said) if said is not None else None


def _cargo(
    args: Mapping[str, Any], context: Context, script: str, words: Sequence[str]
) -> Generator[Step, Reply, str | Outcome]:
    argv = ("/bin/sh", "-c", script, "cargo", _features(args), *words)
    seen = yield Probe(Exec(argv=argv, cwd=_folder(args), env=context.environment, timeout=context.timeout))
    if seen.rc == 127:
        return missing(["cargo", "metadata"])
    said = yield from whole_stdout(seen)
    if isinstance(said, bytes):
        said, failed, why = said.partition(b"\nfailed\n")
        seen = replace(seen, ok=False, rc=1, stderr=why) if failed else seen
    if isinstance(said, Reply) or not well(seen):
        return refused(replace(seen, stdout=b""), ["cargo", "metadata"], "cargo tells nothing of this workspace")
    return text(said)


def _features(args: Mapping[str, Any]) -> str:
    """Words for both of cargo's commands; the names of features hold no blanks."""
    words = ["--features=" + ",".join(args["features"])] if args["features"] else []
    words += ["--all-features"] if args["all_features"] else []
    return " ".join(words + ([] if args["default_features"] else ["--no-default-features"]))


def _selection(args: Mapping[str, Any]) -> list[str]:
    packages = [word for package in args["packages"] for word in ("-p", package)]
    return packages + (["--target", args["target"]] if args.get("target") else [])


def _refused(error: Exception) -> Outcome:
    return Outcome(failed=True, msg=f"no bill of materials: {error}")


def _archives(graph: Graph, context: Context) -> Generator[Step, Reply, dict[str, str]]:
    """SHA-512 of what Cargo fetched, by path. Vendored crates have no archive."""
    files = sorted(path for package in graph.packages.values() if (path := package.cached()))
    return (yield from _sums("sha512sum", files, context)) if files else {}


def _sums(program: str, paths: Sequence[str], context: Context) -> Generator[Step, Reply, dict[str, str]]:
    """Hex digests by path; a file that is not there has none."""
    names = b"".join(path.encode() + b"\0" for path in paths)
    seen = yield Probe(Exec(argv=(*_SUMS, program), stdin=names, env={**context.environment, "LC_ALL": "C"}))
    said = yield from whole_stdout(seen)
    lines = text(said).splitlines() if isinstance(said, bytes) else []
    pairs = (line.partition("  ") for line in lines)
    return {path: digest for digest, _, path in pairs}


def _built(args: Mapping[str, Any], context: Context) -> Generator[Step, Reply, tuple[Built, ...] | Outcome]:
    if not args["built"]:
        return ()
    from ciflow.supply.cargo_parts import Built
    from ciflow.supply.model import Hash

    paths = [posixpath.join(args.get("chdir", ""), path) for path in args["built"]]
    sha256 = yield from _sums("sha256sum", paths, context)
    sha512 = yield from _sums("sha512sum", paths, context)
    lost = [path for path in paths if path not in sha512 or path not in sha256]
    if lost:
        return Outcome(failed=True, msg=f"{lost[0]} can't be read: was it built?")
    return tuple(Built(p, (Hash("SHA-256", sha256[p]), Hash("SHA-512", sha512[p]))) for p in paths)


def bill(args: Mapping[str, Any], told: Told) -> Bom:
    """The bill of what the host said.

    Raises:
        SupplyError: it does not fit together.
    """
    from ciflow.supply import cargo_build
    from ciflow.supply.parties import parse_party
    from ciflow.supply.platform import parse_cfg

    triple, _, cfg = told.platform.partition("\n")
    supplier = parse_party(args.get("supplier") or "")
    subject = cargo_build.Subject(tuple(args["packages"]), args.get("name"), args.get("version"), supplier, told.built)
    return cargo_build.from_graph(
        told.graph,
        told.lock,
        units=told.units,
        subject=subject,
        target=parse_cfg(args.get("target") or triple, cfg) if told.platform else None,
        sha512=told.sha512,
    )


def creation(args: Mapping[str, Any], context: Context) -> Creation:
    """When and by whom: the time as told, as SOURCE_DATE_EPOCH says, or when the task began."""
    from ciflow.supply.model import Creation
    from ciflow.supply.parties import parse_party

    epoch = sbom_path.epoch(args, context)
    authors = tuple(party for one in args["authors"] if (party := parse_party(one)))
    return Creation(epoch, __version__, authors, supplier=parse_party(args.get("supplier") or ""))


def listed(args: Mapping[str, Any], context: Context, bom: Bom, *, exact: bool) -> Listing | Outcome:
    """The documents. A subject may be called by its address: the last part of it is a file's name."""
    from ciflow.supply import formats
    from ciflow.supply.errors import SupplyError
    from ciflow.supply.model import Scope

    try:
        name = args.get("artifact") or bom.subject.name.rpartition("/")[2] or "sbom"
        made = creation(args, context)
        suffixes = {form: formats.chosen(form)[0].suffix for form in args["formats"]}
        contents = {f"{name}.{suffix}": formats.emit(bom, made, form) for form, suffix in suffixes.items()}
    except SupplyError as error:
        return _refused(error)
    excluded = sum(component.scope is Scope.EXCLUDED for component in bom.components)
    return Listing(contents, {"components": len(bom.components), "build_only": excluded, "exact": exact})


def _written(args: Mapping[str, Any], contents: Mapping[str, bytes], counts: Mapping[str, Any]) -> Steps:
    made = yield Change(Mkdir(path=args["dest"]))
    if not well(made):
        return failure(made)
    changed, files = made.changed, {}
    for name, content in contents.items():
        path = posixpath.join(str(made.data.get("path", args["dest"])), name)
        reply = yield Change(Write(path=path, content=content))
        if not well(reply):
            return failure(reply)
        changed = changed or reply.changed
        files[path] = hashlib.sha256(content).hexdigest()
    msg = f"{counts['components']} components, {counts['build_only']} of them only used in building"
    return Outcome(changed=changed, msg=msg, data={**counts, "dest": args["dest"], "files": files})
