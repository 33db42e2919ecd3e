"""What a path on a host is - a workspace, a lock, a program, a folder, an image - and what its bill is made of."""

from __future__ import annotations

import base64
import json
import posixpath
import sys
from collections.abc import Generator, Mapping
from typing import TYPE_CHECKING, Any

from ciflow.dataclass import dataclass
from ciflow.model import At, Change, Context, Exec, Mkdir, Outcome, Probe, Read, Remove, Reply, Stat, Step, Walk, Write
from ciflow.modules.execute import whole_stdout
from ciflow.modules.replies import failure, text, well
from ciflow.supply.errors import SupplyError

if TYPE_CHECKING:
    from ciflow.supply.model import Bom
    from ciflow.supply.subject import Called
    from ciflow.supply.wanted import Asking, Entry

_MOST_FILES = 500_000  # of a folder; what a reply is to hold
_MOST_IMAGE = 1024**3  # bytes; what a controller may be asked to hold at once
_PIECE = 64 * 1024 * 1024
_MOST_LOCK = 64 * 1024 * 1024
_PROGRAM = (sys.executable, "-m", "ciflow.modules.files.sbom")


@dataclass(frozen=True)
class Listing:
    """The documents by name, and how many components of which kind they list."""

    contents: Mapping[str, bytes]
    counts: Mapping[str, Any]


Asked = Generator[Step, Reply, "Bom | Listing | Outcome | None"]


def place(args: Mapping[str, Any]) -> str:
    """What is looked at; `path` counts from `chdir`."""
    folder, path = str(args.get("chdir") or ""), args.get("path")
    return posixpath.join(folder, str(path)) if path else folder


def epoch(args: Mapping[str, Any], context: Context) -> int:
    """The time in the documents, in Unix seconds: as told, as SOURCE_DATE_EPOCH says, or when the task began."""
    told = args.get("epoch")
    return int(told if told is not None else context.environment.get("SOURCE_DATE_EPOCH") or context.now)


def called(args: Mapping[str, Any]) -> Called:
    from ciflow.supply.parties import parse_party
    from ciflow.supply.subject import Called

    return Called(args.get("name"), args.get("version"), parse_party(args.get("supplier") or ""))


def look(args: Mapping[str, Any], context: Context) -> Asked:
    """The bill of what the path is, or the documents of an image; None where it is a workspace, which cargo knows."""
    from ciflow.supply.subject import DAEMON

    path = place(args) or "."
    seen = yield Probe(Stat(path=path, follow=True))
    if not well(seen):
        return failure(seen)
    named = args.get("path") or ""
    if not seen.data.get("exists") and named.startswith(DAEMON):
        return (yield from _saved(args, context, named.removeprefix(DAEMON)))
    if not seen.data.get("exists"):
        return Outcome(failed=True, msg=f"{path}: there is nothing")
    try:
        if seen.data["kind"] == "directory":
            return (yield from _directory(args, str(seen.data.get("path", path))))
        return (yield from _file(args, context, path, seen))
    except SupplyError as error:
        return Outcome(failed=True, msg=f"{path}: {error}")


def _directory(args: Mapping[str, Any], path: str) -> Asked:
    if args["lock_only"]:
        return (yield from _lock(args, posixpath.join(path, "Cargo.lock")))
    manifest = yield Probe(Stat(path=posixpath.join(path, "Cargo.toml")))
    if not well(manifest):
        return failure(manifest)
    if manifest.data.get("exists"):
        return None
    return (yield from _folder(args, path))


def _file(args: Mapping[str, Any], context: Context, path: str, seen: Reply) -> Asked:
    from ciflow.supply import subject
    from ciflow.supply.wanted import Entry

    folder, _, name = path.rpartition("/")
    if name == "Cargo.toml":
        return (yield from _lock(args, posixpath.join(folder, "Cargo.lock"))) if args["lock_only"] else None
    if args["lock_only"] or name == "Cargo.lock":
        return (yield from _lock(args, path))
    if seen.data["kind"] != "file":
        return Outcome(failed=True, msg=f"{path}: it is a {seen.data['kind']}, and no file")
    size = int(seen.data["size"])
    head = yield Probe(Read(path=path, length=subject.HEAD))
    if not well(head):
        return failure(head)
    if subject.is_image(head.stdout, name):
        return (yield from _image(args, context, path, size))
    entry = Entry(name, size, executable=True)
    return (yield from _read(subject.single(entry, head.stdout, called(args)), folder))


def _lock(args: Mapping[str, Any], path: str) -> Asked:
    from ciflow.supply.cargo_lock import from_lock

    reply = yield Probe(Read(path=path, limit=_MOST_LOCK))
    if not well(reply):
        return failure(reply, what="a bill of materials needs the lock file")
    return from_lock(text(reply.stdout), args.get("name") or _own(posixpath.dirname(path)))


def _own(folder: str) -> str:
    """The folder's own name; of one that is only told as `.` nobody knows it here."""
    name = posixpath.basename(posixpath.normpath(folder))
    return "" if name in (".", "..", "~") else name


def _folder(args: Mapping[str, Any], path: str) -> Asked:
    from ciflow.supply import subject

    reply = yield Probe(Walk(path=path, limit=_MOST_FILES, only={"kind": "file"}))
    if not well(reply):
        return failure(reply)
    entries = _entries(reply, path)
    if isinstance(entries, Outcome):
        return entries
    return (yield from _read(subject.folder(entries, _own(path), called(args)), path))


def _entries(reply: Reply, root: str) -> list[Entry] | Outcome:
    """A list that silently lacks a folder is worse than none."""
    from ciflow.supply import subject

    if reply.truncated:
        return Outcome(failed=True, msg=f"{root}: more than {_MOST_FILES} files; list a part of it")
    top = root.rstrip("/") + "/"
    for one in reply.data.get("unread", ()):
        if all(map(subject.looked_into, one["path"].removeprefix(top).split("/"))):
            return Outcome(failed=True, msg=f"{one['path']} can't be read: {one['error']}")
    found = []
    for one in reply.data["entries"]:
        path = one["path"].removeprefix(top)
        if all(map(subject.looked_into, path.split("/")[:-1])):
            found.append(subject.listed(path, int(one["size"]), int(one["mode"], 8)))
    return found


def _read(asking: Asking[Bom], root: str) -> Generator[Step, Reply, Bom | Outcome]:
    """Answers a catalogue's questions by files of the host: only what it asks for travels."""
    content: bytes | None = None
    while True:
        try:
            wanted = next(asking) if content is None else asking.send(content)
        except StopIteration as end:
            bom: Bom = end.value
            return bom
        content = b""
        if wanted.length > 0:  # to Read, no length means all
            path = posixpath.join(root, wanted.path)
            reply = yield Probe(Read(path=path, offset=wanted.offset, length=wanted.length))
            if not well(reply):
                return failure(reply)
            content = reply.stdout


def _saved(args: Mapping[str, Any], context: Context, name: str) -> Asked:
    """An image of the host's daemon: the archive goes to where large output of a program goes."""
    argv = ("docker", "save", "--", name)
    reply = yield Probe(Exec(argv=argv, env=context.environment, timeout=context.timeout))
    if not well(reply):
        return failure(reply, what=f"docker saves no image {name}")
    spilled = reply.spilled.get("stdout") if reply.truncated else None
    if spilled is None:
        return (yield from _brought(args, context, reply.stdout))
    seen = yield Probe(Stat(path=spilled))
    if not well(seen):
        return failure(seen)
    return (yield from _image(args, context, spilled, int(seen.data.get("size", 0))))


def _image(args: Mapping[str, Any], context: Context, path: str, size: int) -> Asked:
    if size > _MOST_IMAGE:
        msg = f"{args['path']}: {size} bytes are more than the {_MOST_IMAGE} that are brought to the controller; "
        return Outcome(failed=True, msg=msg + "`ciflow sbom` lists it where it lies")
    pieces = []
    for offset in range(0, size, _PIECE):
        reply = yield Probe(Read(path=path, offset=offset, length=min(_PIECE, size - offset)))
        if not well(reply):
            return failure(reply)
        pieces.append(reply.stdout)
    return (yield from _brought(args, context, b"".join(pieces)))


def _brought(args: Mapping[str, Any], context: Context, archive: bytes) -> Asked:
    """An image is looked into by a program on the controller: unpacking takes time, in which the run goes on."""
    if context.check:
        return Outcome(changed=True, msg="the image would be listed")
    made = yield At("controller", Change(Mkdir(path="", temporary="directory", prefix="ciflow-sbom-")))
    if not well(made):
        return failure(made, what="on the controller")
    folder = str(made.data["path"])
    path = posixpath.join(folder, "image.tar")
    reply = yield At("controller", Change(Write(path=path, content=archive, mode="0600")))
    said: bytes | Reply = reply
    if well(reply):
        names = ("name", "version", "supplier", "authors", "formats", "artifact", "epoch")
        wish = {name: args[name] for name in names if args.get(name) is not None}
        own = posixpath.splitext(posixpath.basename(args["path"]))[0]
        wish |= {"archive": path, "own": own, "epoch": epoch(args, context)}
        reply = yield At("controller", Probe(Exec(argv=_PROGRAM, stdin=json.dumps(wish).encode())))
        said = (yield from whole_stdout(reply)) if well(reply) else reply
    yield At("controller", Change(Remove(path=folder)))
    if isinstance(said, Reply):
        return failure(said, what=args["path"])
    told = json.loads(said)
    contents = {name: base64.b64decode(content) for name, content in told["documents"].items()}
    return Listing(contents, told["counts"])
