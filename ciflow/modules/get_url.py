"""`get_url`: download a file to the host."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Generator, Mapping
from typing import Any
from urllib.parse import unquote, urlsplit

from ciflow.model import (
    Attrs,
    Change,
    Context,
    Copy,
    Http,
    Mkdir,
    Operation,
    Outcome,
    Probe,
    Read,
    Remove,
    Reply,
    Stat,
    Step,
    Steps,
)
from ciflow.modules.replies import failure, file_data, predicted, text, well

_LIMIT = 1024 * 1024 * 1024  # bytes
_HASHES = ("md5", "sha1", "sha224", "sha256", "sha384", "sha512")


def run(args: Mapping[str, Any], context: Context) -> Steps:
    """What is there is kept when its checksum is the wished one, or when there is none and `force` is not set."""
    algorithm, wanted = yield from _wanted(args)
    if args.get("checksum") and not wanted:
        return Outcome(
            failed=True, msg=f"no checksum for {args['url']} in {args['checksum']}", data={"url": args["url"]}
        )
    dest, seen = yield from _destination(args, algorithm or "sha1")
    data = {"url": args["url"], "dest": dest}
    if seen.status == "unknown":
        return failure(seen, data)
    there = seen.data.get("exists") and (seen.data.get("hash") == wanted if wanted else not args["force"])
    if there:
        return _kept((yield Change(_attributes(args, dest), last=True)), data, seen)
    if context.check:
        return Outcome(changed=True, msg="would download", data=data)
    return (yield from _download(args, dest, algorithm or "sha1", wanted))


def _wanted(args: Mapping[str, Any]) -> Generator[Step, Reply, tuple[str, str]]:
    """(algorithm, hex) of `checksum: sha256:..`, where the hex may be the address of a list of checksums."""
    algorithm, _, value = str(args.get("checksum", "")).partition(":")
    if algorithm not in _HASHES:
        return "", ""
    if not re.match(r"(https?|ftp|file)://", value):
        return algorithm, re.sub(r"\W+", "", value).lower()
    path = _path(value)
    reply = yield Probe(_http(args, value) if path is None else Read(path=path))
    name = posixpath.basename(urlsplit(args["url"]).path)
    lines = [line.split() for line in text(reply.stdout).splitlines() if line.split()] if well(reply) else []
    if len(lines) == 1 and len(lines[0]) == 1:
        return algorithm, lines[0][0].lower()
    named = (words[0] for words in lines if posixpath.basename(words[-1].lstrip("*")) == name)
    return algorithm, next(named, "").lower()


def _destination(args: Mapping[str, Any], algorithm: str) -> Generator[Step, Reply, tuple[str, Reply]]:
    dest = args["dest"]
    seen = yield Probe(Stat(path=dest, hash=algorithm, follow=True))
    if seen.data.get("kind") != "directory" and not dest.endswith("/"):
        return dest, seen
    dest = posixpath.join(dest, posixpath.basename(urlsplit(args["url"]).path) or "index.html")
    return dest, (yield Probe(Stat(path=dest, hash=algorithm, follow=True)))


def _download(args: Mapping[str, Any], dest: str, algorithm: str, wanted: str) -> Steps:
    place = yield Change(Mkdir(path=args.get("tmp_dest", ""), temporary="file", prefix="ciflow-"))
    if not well(place):
        return failure(place)
    temporary = str(place.data["path"])
    outcome = yield from _checked(args, dest, temporary, (algorithm, wanted))
    removed = yield Change(Remove(path=temporary), last=True)
    if well(removed) or predicted(removed) or outcome.failed:
        return outcome
    return failure(removed, outcome.data, f"downloaded, but {temporary} could not be taken away")


def _checked(args: Mapping[str, Any], dest: str, temporary: str, wish: tuple[str, str]) -> Steps:
    """Download beside, check, and only then put it in its place."""
    got = yield Change(_fetched(args, temporary))
    status = int(got.data.get("status", -1 if _path(args["url"]) is None else 200))
    data = {"url": args["url"], "dest": dest, "status_code": status, "elapsed": int(got.duration)}
    if not well(got) or status >= 400:
        refused = Outcome(failed=True, msg=f"Request failed: HTTP Error {status}", data=data)
        return refused if status >= 400 else failure(got, data, "Request failed")
    seen = yield Probe(Stat(path=temporary, hash=wish[0]))
    found = str(seen.data.get("hash", ""))
    if wish[1] and found != wish[1]:
        msg = f"The checksum for {dest} did not match {wish[1]}; it was {found}."
        return Outcome(failed=True, msg=msg, data={**data, "checksum_src": found})
    reply = yield Change(_copy(args, temporary, dest))
    data |= {"checksum_src": found, "checksum_dest": found, "src": temporary} | file_data(reply, dest)
    if not well(reply):
        return failure(reply, data)
    return Outcome(changed=reply.changed, msg=f"OK ({seen.data.get('size', 'unknown')} bytes)", data=data)


def _fetched(args: Mapping[str, Any], dest: str) -> Operation:
    path = _path(args["url"])
    return _http(args, args["url"], dest) if path is None else Copy(path=path, dest=dest)


def _path(url: str) -> str | None:
    """The file on the host that `file:///path` names."""
    parts = urlsplit(url)
    return unquote(parts.path) if parts.scheme == "file" and parts.netloc in ("", "localhost") else None


def _copy(args: Mapping[str, Any], temporary: str, dest: str) -> Copy:
    mode, owner, group = (args.get(key, "") for key in ("mode", "owner", "group"))
    unsafe = args.get("unsafe_writes", False)
    return Copy(path=temporary, dest=dest, mode=mode, owner=owner, group=group, backup=args["backup"], unsafe=unsafe)


def _http(args: Mapping[str, Any], url: str, dest: str = "") -> Http:
    return Http(
        url=url,
        headers=asked(args) | {str(k): str(v) for k, v in args["headers"].items()},
        timeout=args["timeout"],
        follow="all",
        verify=args["validate_certs"],
        user=args.get("url_username", ""),
        password=args.get("url_password", ""),
        dest=dest,
        limit=_LIMIT,
        proxy=args["use_proxy"],
        cert=args.get("client_cert", ""),
        key=args.get("client_key", ""),
    )


def asked(args: Mapping[str, Any]) -> dict[str, str]:
    """Headers of every request. A cached answer is no answer where `force` is set."""
    return {"User-Agent": args["http_agent"]} | ({"Cache-Control": "no-cache"} if args["force"] else {})


def _attributes(args: Mapping[str, Any], dest: str) -> Attrs:
    mode, owner, group = (args.get(key, "") for key in ("mode", "owner", "group"))
    return Attrs(path=dest, mode=mode, owner=owner, group=group)


def _kept(reply: Reply, data: Mapping[str, Any], seen: Reply) -> Outcome:
    if not well(reply):
        return failure(reply, data)
    shown = {**file_data(reply, data["dest"]), **data, "checksum_dest": seen.data.get("hash", "")}
    return Outcome(changed=reply.changed, msg="file already exists", data=shown)
