"""`unarchive`: unpack an archive on the host."""

from __future__ import annotations

import posixpath
from collections.abc import Generator, Mapping
from typing import Any

from ciflow.dataclass import dataclass
from ciflow.model import (
    Attrs,
    Change,
    Context,
    Exec,
    Http,
    Mkdir,
    Outcome,
    Probe,
    Remove,
    Reply,
    Stat,
    Step,
    Steps,
    Write,
)
from ciflow.modules.execute import held_back
from ciflow.modules.replies import failure, file_data, predicted, text, well
from ciflow.modules.sources import Missing, find

# $1 archive, $2 destination: prints each member of a zip whose content is not there as it is in the archive.
_ZIP_DIFFERS = r"""
unzip -Z1 -- "$1" | while IFS= read -r name; do
  case $name in */) [ -d "$2/$name" ] || printf '%s\n' "$name"; continue ;; esac
  pattern=$(printf '%s' "$name" | sed 's/[][*?\\]/\\&/g')
  unzip -p -- "$1" "$pattern" | cmp -s -- - "$2/$name" || printf '%s\n' "$name"
done
"""
_HANDLERS: dict[tuple[str, ...], str] = {
    (".tar",): "TarArchive",
    (".bz2", ".tbz", ".tbz2"): "TarBzipArchive",
    (".xz", ".txz"): "TarXzArchive",
    (".zst", ".tzst"): "TarZstdArchive",
}
_LIMIT = 1024 * 1024 * 1024  # bytes of a download
# What tar --diff says about times and owners is no difference: only content, kind and permissions count.
_NO_DIFFERENCE = ("Mod time differs", "Uid differs", "Gid differs")


@dataclass(frozen=True, slots=True)
class Packed:
    """An archive that lies on the host. `temporary`: brought there by this task, to be taken away."""

    path: str
    name: str
    temporary: bool

    @property
    def zip(self) -> bool:
        return self.name.endswith((".zip", ".jar", ".war"))


def run(args: Mapping[str, Any], context: Context) -> Steps:
    """Bring it, look at its members, compare, unpack only when something differs."""
    held = yield from held_back(Exec(creates=args.get("creates", "")))
    if held:
        return Outcome(msg=f"skipped, since {held}", data={"src": args["src"], "dest": args["dest"]})
    seen = yield Probe(Stat(path=args["dest"], follow=True))
    if seen.data.get("kind") != "directory":
        return Outcome(failed=True, msg=f"Destination '{args['dest']}' is not a directory", data={"dest": args["dest"]})
    if context.check and not (_there(args) and "://" not in args["src"]):
        return Outcome(
            changed=True, msg="would bring it and unpack it", data={"src": args["src"], "dest": args["dest"]}
        )
    packed = yield from _on_the_host(args, context)
    if not isinstance(packed, Packed):
        return packed if isinstance(packed, Outcome) else failure(packed, {"src": args["src"]})
    outcome = yield from _unpacked(packed, args, context)
    if packed.temporary:
        removed = yield Change(Remove(path=packed.path), last=True)
        if not well(removed) and not predicted(removed) and not outcome.failed:
            return failure(removed, outcome.data, f"unpacked, but {packed.path} could not be taken away")
    return outcome


def _there(args: Mapping[str, Any]) -> bool:
    """Whether `src` is the host's own business; `copy: false` is the older way to say so."""
    return bool(args["remote_src"]) or args.get("copy") is False


def _on_the_host(args: Mapping[str, Any], context: Context) -> Generator[Step, Reply, Packed | Outcome | Reply]:
    """Where the archive lies on the host: there already, downloaded by it, or brought from the controller."""
    src, url = args["src"], "://" in args["src"]
    name = posixpath.basename(src)
    if _there(args) and not url:
        return Packed(src, name, False)
    source = ""
    if not url:
        found = yield from find(src, context)
        if isinstance(found, Missing):
            return Outcome(failed=True, msg=str(found))
        source = found.path
    place = yield Change(Mkdir(path="", temporary="file", prefix="ciflow-", suffix=f"-{name}"))
    if not well(place):
        return place
    path = str(place.data["path"])
    download = Http(url=src, dest=path, follow="all", verify=args["validate_certs"], limit=_LIMIT)
    reply = yield Change(download if url else Write(path=path, source=source))
    return Packed(path, name, True) if well(reply) else reply


def _unpacked(packed: Packed, args: Mapping[str, Any], context: Context) -> Steps:
    data: dict[str, Any] = {"src": args["src"], "dest": args["dest"], "handler": _handler(packed)}
    listed = yield Probe(_exec(_list(packed, args), context))
    if not well(listed):
        return failure(listed, data | {"stderr": text(listed.stderr)}, f"can't read {args['src']} as an archive")
    members = [line for line in text(listed.stdout).splitlines() if line]
    outside = next((name for name in members if _climbs(name)), None)
    if outside is not None:
        return Outcome(failed=True, msg=f"{args['src']} holds '{outside}', which leaves the destination", data=data)
    if args["list_files"]:
        data["files"] = members
    compared = yield Probe(_exec(_compare(packed, args), context))
    if compared.status != "done":
        return failure(compared, data)
    same = _same(packed, compared)
    if not same:
        reply = yield Change(_exec(_extract(packed, args), context))
        if predicted(reply):
            return Outcome(changed=True, msg="would unpack it", data=data)
        if not well(reply):
            return failure(reply, data | {"stderr": text(reply.stderr)}, f"can't unpack {args['src']}")
    return (yield from _attributes(members, args, data, changed=not same))


def _attributes(members: list[str], args: Mapping[str, Any], data: Mapping[str, Any], *, changed: bool) -> Steps:
    """Mode and owners of all that was unpacked, a tree at a time; then what the destination is.

    A link that the archive brought is passed over: what it leads to is not of the archive.
    """
    mode, owner, group = (args.get(key, "") for key in ("mode", "owner", "group"))
    tops = (
        sorted({posixpath.normpath(name).split("/")[0] for name in members} - {"."}) if mode or owner or group else []
    )
    for top in tops:
        path = posixpath.join(args["dest"], top)
        if (yield Probe(Stat(path=path))).data.get("kind") == "link":
            continue
        reply = yield Change(Attrs(path=path, mode=mode, owner=owner, group=group, recurse=True))
        if not well(reply):
            return failure(reply, data)
        changed = changed or reply.changed
    seen = yield Probe(Stat(path=args["dest"], follow=True))
    return Outcome(changed=changed, data=file_data(seen, args["dest"], "directory") | dict(data))


def _handler(packed: Packed) -> str:
    """Ansible's name for what unpacks it."""
    if packed.zip:
        return "ZipArchive"
    return next((handler for end, handler in _HANDLERS.items() if packed.name.endswith(end)), "TgzArchive")


def _climbs(name: str) -> bool:
    return name.startswith("/") or ".." in name.split("/")


def _exec(argv: tuple[str, ...], context: Context) -> Exec:
    return Exec(argv=argv, env={**context.environment, "LC_ALL": "C"}, timeout=context.timeout)


def _members(args: Mapping[str, Any]) -> tuple[str, ...]:
    return tuple(str(name) for name in args["include"])


def _tar(packed: Packed, args: Mapping[str, Any], verb: str, more: tuple[str, ...] = ()) -> tuple[str, ...]:
    excluded = tuple(f"--exclude={name}" for name in args["exclude"])
    options = tuple(str(word) for word in args["extra_opts"])
    return ("tar", verb, *excluded, *options, *more, "-f", packed.path, "--", *_members(args))


def _list(packed: Packed, args: Mapping[str, Any]) -> tuple[str, ...]:
    return ("unzip", "-Z1", packed.path) if packed.zip else _tar(packed, args, "--list")


def _compare(packed: Packed, args: Mapping[str, Any]) -> tuple[str, ...]:
    if packed.zip:
        return ("/bin/sh", "-c", _ZIP_DIFFERS.strip() + "\n", "sh", packed.path, args["dest"])
    return _tar(packed, args, "--compare", ("-C", args["dest"]))


def _same(packed: Packed, compared: Reply) -> bool:
    lines = [line for line in text(compared.stdout).splitlines() if line]
    if packed.zip:
        return compared.ok and not lines
    return compared.ok or (
        compared.rc == 1
        and bool(lines)
        and not compared.stderr
        and all(line.endswith(_NO_DIFFERENCE) for line in lines)
    )


def _extract(packed: Packed, args: Mapping[str, Any]) -> tuple[str, ...]:
    if packed.zip:
        excluded = tuple(str(name) for name in args["exclude"])
        freshness = "-u" if args["keep_newer"] else "-o"
        options = ("-q", freshness, *(str(word) for word in args["extra_opts"]))
        return (
            "unzip",
            *options,
            packed.path,
            *_members(args),
            *(("-x", *excluded) if excluded else ()),
            "-d",
            args["dest"],
        )
    more = ("-C", args["dest"], *(("--keep-newer-files",) if args["keep_newer"] else ()))
    return _tar(packed, args, "--extract", more)
