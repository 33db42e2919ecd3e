"""`sbom`: what a Rust workspace is made of, as CycloneDX and SPDX documents."""

from __future__ import annotations

import hashlib
import posixpath
from collections.abc import Generator, Mapping
from typing import Any

from ciflow import __version__
from ciflow.model import Change, Context, Exec, Mkdir, Outcome, Probe, Read, Reply, Step, Steps, Write
from ciflow.modules.cargo import missing
from ciflow.modules.execute import whole_stdout
from ciflow.modules.replies import failure, process_data, text, well

_METADATA = ("cargo", "metadata", "--locked", "--format-version=1")
# Line 1: the build host's triple; then the cfg of the platform built for.
_PLATFORM = 'rustc -vV | sed -n "s/^host: //p"; exec rustc --print cfg ${1:+--target "$1"}\n'
_NAMES = {"cyclonedx-json": "cdx.json", "spdx-json": "spdx.json"}


def run(args: Mapping[str, Any], context: Context) -> Steps:
    """Ask cargo and rustc on the host, reckon here, write the documents there."""
    texts = yield from _texts(args, context)
    if isinstance(texts, Outcome):
        return texts
    documents = _documents(args, context, *texts)
    if isinstance(documents, Outcome):
        return documents
    contents, counts = documents
    return (yield from _written(args, contents, counts))


def _texts(args: Mapping[str, Any], context: Context) -> Generator[Step, Reply, tuple[str, str, str] | Outcome]:
    """(metadata, lock, platform) as cargo and rustc print them."""
    look = Exec(argv=_METADATA, cwd=args.get("chdir", ""), env=context.environment, timeout=context.timeout)
    seen = yield Probe(look)
    if seen.errno == "ENOENT" and seen.rc == 127:
        return missing(list(_METADATA))
    metadata = yield from whole_stdout(seen)
    if isinstance(metadata, Reply) or not well(seen):
        return failure(seen, process_data(seen, list(_METADATA)), "cargo metadata failed")
    root = _workspace_root(metadata)
    lock = yield Probe(Read(path=posixpath.join(root, "Cargo.lock")))
    if not well(lock):
        return failure(lock, what="a bill of materials needs the lock file")
    argv = ("/bin/sh", "-c", _PLATFORM, "rustc", args.get("target", ""))
    platform = yield Probe(Exec(argv=argv, cwd=args.get("chdir", ""), env=context.environment))
    if not well(platform):
        return failure(platform, what=f"rustc can't tell the platform: {text(platform.stderr).strip()}")
    return text(metadata), text(lock.stdout), text(platform.stdout)


def _workspace_root(metadata: bytes) -> str:
    """Where Cargo.lock lies; the whole document is read (and refused, if need be) later."""
    import json

    try:
        found = json.loads(metadata)["workspace_root"]
    except (ValueError, KeyError, TypeError):
        return "."
    return str(found)


def _documents(
    args: Mapping[str, Any], context: Context, metadata: str, lock: str, platform: str
) -> tuple[dict[str, bytes], dict[str, int]] | Outcome:
    """Name and bytes of each document, and how many components of which kind they list."""
    from ciflow.supply import cargo_build, cyclonedx, spdx
    from ciflow.supply.errors import SupplyError
    from ciflow.supply.model import Creation, Scope
    from ciflow.supply.platform import parse_cfg

    triple, _, cfg = platform.partition("\n")
    target = parse_cfg(args.get("target") or triple, cfg)
    subject = cargo_build.Subject(tuple(args["packages"]), args.get("name"), args.get("version"))
    try:
        bom = cargo_build.from_metadata(metadata, lock, subject=subject, target=target)
        creation = Creation(_epoch(args, context), __version__)
        emit = {"cyclonedx-json": cyclonedx.emit, "spdx-json": spdx.emit}
        name = args.get("artifact") or bom.subject.name
        contents = {f"{name}.{_NAMES[form]}": emit[form](bom, creation) for form in args["formats"]}
    except SupplyError as error:
        return Outcome(failed=True, msg=f"no bill of materials: {error}")
    excluded = sum(component.scope is Scope.EXCLUDED for component in bom.components)
    return contents, {"components": len(bom.components), "build_only": excluded}


def _epoch(args: Mapping[str, Any], context: Context) -> int:
    """The time in the documents, in Unix seconds: as told, as SOURCE_DATE_EPOCH says, or when the task began."""
    told = args.get("epoch")
    return int(told if told is not None else context.environment.get("SOURCE_DATE_EPOCH") or context.now)


def _written(args: Mapping[str, Any], contents: Mapping[str, bytes], counts: Mapping[str, int]) -> Steps:
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
