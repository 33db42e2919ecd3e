"""`assemble`: a file made of the files of a folder, in order of their names."""

from __future__ import annotations

import codecs
import posixpath
import re
import shlex
from collections.abc import Generator, Mapping
from typing import Any

from ciflow.model import At, Change, Context, Outcome, Probe, Read, Reply, Stat, Step, Steps, Walk, Write
from ciflow.modules.place import placed, without_file
from ciflow.modules.replies import failure, well
from ciflow.modules.sources import Missing, find, read, sha1


def run(args: Mapping[str, Any], context: Context) -> Steps:
    """The fragments are read one by one, from the host or the controller; then one Write."""
    data = {"src": args["src"], "dest": args["dest"]}
    wrong = _wrong(args)
    if wrong:
        return Outcome(failed=True, msg=wrong, data=data)
    folder = args["src"]
    if not args["remote_src"]:
        found = yield from find(args["src"], context)
        if isinstance(found, Missing):
            return Outcome(failed=True, msg=str(found), data=data)
        folder = found.path
    fragments = yield from _fragments(folder, args)
    if isinstance(fragments, Reply):
        what = {"ENOENT": "does not exist", "ENOTDIR": "is not a directory"}.get(fragments.errno, "")
        said = f"Source ({folder}) {what}"
        return Outcome(failed=True, msg=said, data=data) if what else failure(fragments, data)
    content = joined([one.stdout for one in fragments], args.get("delimiter"))
    wish = Write(
        path=args["dest"],
        content=content,
        mode=args.get("mode", ""),
        owner=args.get("owner", ""),
        group=args.get("group", ""),
        backup=args["backup"],
        validate=tuple(shlex.split(args.get("validate", ""))),
        diff=context.diff and not any(one.data.get("vaulted") for one in fragments),
        unsafe=args.get("unsafe_writes", False),
    )
    reply = yield Change(wish, last=True)
    return placed(reply, args["dest"], {**data, "checksum": sha1(content)})


def _wrong(args: Mapping[str, Any]) -> str:
    if wrong := without_file(args):
        return wrong
    try:
        re.compile(args.get("regexp", ""))
    except re.error as error:
        return f'Invalid Regexp ({error}) in "{args["regexp"]}"'
    return ""


def joined(fragments: list[bytes], delimiter: str | None) -> bytes:
    r"""Each begins a line of its own. The delimiter stands between them, with `\n` and its like read as in Python."""
    between = codecs.escape_decode(delimiter.encode("utf-8", "surrogateescape"))[0] if delimiter else b""
    assert isinstance(between, bytes)
    between += b"\n" if between and not between.endswith(b"\n") else b""
    whole = b""
    for number, fragment in enumerate(fragments):
        whole += b"\n" if whole and number and not fragments[number - 1].endswith(b"\n") else b""
        whole += (between if number else b"") + fragment
    return whole


def _fragments(folder: str, args: Mapping[str, Any]) -> Generator[Step, Reply, list[Reply] | Reply]:
    """What was read of each, or the reply of what went wrong."""

    def there(operation: Walk | Stat) -> Step:
        return Probe(operation) if args["remote_src"] else At("controller", Probe(operation))

    listed = yield there(Walk(path=folder, depth=1, only={"hidden": not args["ignore_hidden"]}))
    if not well(listed):
        return listed
    fragments = []
    for entry in listed.data.get("entries", ()):
        if not re.search(args.get("regexp", ""), posixpath.basename(entry["path"])):
            continue
        kind = entry["kind"]
        if kind == "link":
            kind = (yield there(Stat(path=entry["path"], follow=True))).data.get("kind")
        if kind != "file":
            continue
        if args["remote_src"]:
            reply = yield Probe(Read(path=entry["path"]))
        else:
            reply = yield from read(entry["path"], decrypt=args["decrypt"])
        if not well(reply):
            return reply
        fragments.append(reply)
    return fragments
