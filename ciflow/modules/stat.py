"""`stat`: what lies at a path, in Ansible's keys."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ciflow.model import Context, Outcome, Probe, Stat, Steps
from ciflow.modules.replies import failure, well

_KINDS = {
    "isdir": "directory",
    "isreg": "file",
    "islnk": "link",
    "isblk": "block",
    "ischr": "char",
    "isfifo": "fifo",
    "issock": "socket",
}
# Ansible's name -> the operation's.
_SAME = {
    "uid": "uid",
    "gid": "gid",
    "size": "size",
    "mtime": "mtime",
    "atime": "atime",
    "ctime": "ctime",
    "inode": "inode",
    "dev": "device",
    "nlink": "nlink",
    "pw_name": "owner",
    "gr_name": "group",
    "readable": "readable",
    "writeable": "writable",
    "executable": "executable",
}
_BITS = ("rusr", "wusr", "xusr", "rgrp", "wgrp", "xgrp", "roth", "woth", "xoth")


def run(args: Mapping[str, Any], _context: Context) -> Steps:
    """A path where nothing lies is no failure: `stat.exists` is false."""
    wanted = args["checksum_algorithm"] if args["get_checksum"] else ""
    reply = yield Probe(Stat(path=args["path"], hash=wanted, follow=args["follow"]), last=True)
    if not well(reply):
        return failure(reply)
    return Outcome(data={"stat": facts(args["path"], reply.data)})


def facts(path: str, data: Mapping[str, Any]) -> dict[str, Any]:
    """`stat.*` of one entry as Ansible documents them."""
    if not data.get("exists"):
        return {"exists": False}
    mode = int(str(data.get("mode", "0")), 8)
    found: dict[str, Any] = {"exists": True, "path": path, "mode": f"{mode:04o}"}
    found |= {name: data.get("kind") == kind for name, kind in _KINDS.items()}
    found |= {name: bool(mode & (0o400 >> place)) for place, name in enumerate(_BITS)}
    found |= {"isuid": bool(mode & 0o4000), "isgid": bool(mode & 0o2000)}
    found |= {name: data[key] for name, key in _SAME.items() if key in data}
    if data.get("kind") == "link":
        found |= {"lnk_target": data.get("target", ""), "lnk_source": data.get("source", "")}
    if data.get("hash"):
        found["checksum"] = data["hash"]
    return found
