"""`known_hosts`: keys of SSH hosts in a known_hosts file (the format is that of sshd(8))."""

from __future__ import annotations

import base64
import binascii
import fnmatch
import hashlib
import hmac
import posixpath
from collections.abc import Iterator, Mapping
from typing import Any

from ciflow.dataclass import dataclass
from ciflow.model import Context, Mkdir, Outcome, Steps, Write
from ciflow.modules.replies import difference, failure, well
from ciflow.modules.textfile import encoded, rewrite

_HASHED = "|1|"


@dataclass(frozen=True, slots=True)
class Entry:
    """One line: its marker (`@cert-authority`, `@revoked`) or "", whom it is about, and the key."""

    marker: str
    hosts: str
    kind: str
    key: str

    def names(self, host: str) -> bool:
        """Whether it is about `host`: by its hash, or by one of its patterns, none of which says `!`."""
        if self.hosts.startswith(_HASHED):
            return _hash_matches(self.hosts, host)
        patterns = self.hosts.lower().split(",")
        if any(fnmatch.fnmatchcase(host, _pattern(one[1:])) for one in patterns if one.startswith("!")):
            return False
        return any(fnmatch.fnmatchcase(host, _pattern(one)) for one in patterns)

    def same(self, other: Entry) -> bool:
        """The same key for the same hosts; two hashes of one name never look alike."""
        hashed = self.hosts.startswith(_HASHED) and other.hosts.startswith(_HASHED)
        about = hashed or self.hosts == other.hosts
        return about and (self.marker, self.kind, self.key) == (other.marker, other.kind, other.key)


def run(args: Mapping[str, Any], context: Context) -> Steps:
    """Read, and write only if a line is to change. A key that is not for that host is refused."""
    host, line, present = args["name"].lower(), (args.get("key") or "").strip(), args["state"] == "present"
    told = {"name": args["name"], "path": args["path"], "state": args["state"], "key": args.get("key")}
    wrong = _wrong(host, line, present=present)
    if wrong:
        return Outcome(failed=True, msg=wrong, data=told)
    if line and args["hash_host"]:
        line = _with_hash(line, host, context.seed)

    def edit(text: str) -> str:
        return _with(text, host, line) if present else _without(text, host, line)

    wish = Write(path=args["path"], diff=context.diff)
    done = yield from rewrite(wish, edit, folder=Mkdir(path=posixpath.dirname(args["path"]) or "."))
    if not well(done.reply):
        return failure(done.reply, told)
    return Outcome(changed=done.reply.changed, data=told, diff=difference(done.reply))


def entry(line: str) -> Entry | None:
    """A line as an entry; None for a comment, an empty line, or what is none."""
    words = line.split()
    if not words or words[0].startswith("#"):
        return None
    marker = words.pop(0) if words[0].startswith("@") else ""
    return Entry(marker, *words[:3]) if len(words) >= 3 else None


def _wrong(host: str, line: str, *, present: bool) -> str:
    if not line:
        return "No key specified when adding a host" if present else ""
    if "," in host:
        return "Comma separated list of names is not supported: give one name, and a task or a loop for each"
    found = entry(line)
    if found is None or "\n" in line:
        return "key must be one line of a known_hosts file: the host, the kind of key, the key"
    try:
        base64.b64decode(found.key, validate=True)
    except binascii.Error:
        return f"the key of {found.hosts} is not valid base64"
    return "" if found.names(host) else "Host parameter does not match hashed host field in supplied key"


def _about(lines: list[str], host: str) -> Iterator[tuple[int, Entry]]:
    for number, line in enumerate(lines):
        found = entry(line)
        if found is not None and found.names(host):
            yield number, found


def _match(lines: list[str], host: str, wanted: Entry) -> tuple[int, bool]:
    """(number of the line with that key, True), else (of the first with another key of its kind or -1, False)."""
    for number, found in _about(lines, host):
        if found.same(wanted):
            return number, True
        if not found.marker and found.kind == wanted.kind:
            return number, False
    return -1, False


def _with(text: str, host: str, line: str) -> str:
    """The text with that key: another one of the same kind for that host makes room."""
    lines, wanted = text.splitlines(keepends=True), entry(line)
    assert wanted is not None
    at, same = _match(lines, host, wanted)
    if same:
        return text
    kept = [one for number, one in enumerate(lines) if number != at]
    if kept and not kept[-1].endswith("\n"):
        kept[-1] += "\n"
    return "".join(kept) + line + "\n"


def _without(text: str, host: str, line: str) -> str:
    """The text without that key, or without any of that host where none is named."""
    lines, wanted = text.splitlines(keepends=True), entry(line)
    if wanted is None:
        gone = {number for number, found in _about(lines, host) if not found.marker}
    else:
        gone = {_match(lines, host, wanted)[0]}
    return "".join(one for number, one in enumerate(lines) if number not in gone)


def _pattern(said: str) -> str:
    """A pattern of known_hosts, which knows `*` and `?` alone, for fnmatch, which knows brackets too."""
    return said.replace("[", "[[]")


def _hashed(host: str, salt: bytes) -> str:
    digest = hmac.new(salt, encoded(host), hashlib.sha1).digest()
    return f"{_HASHED}{base64.b64encode(salt).decode()}|{base64.b64encode(digest).decode()}"


def _hash_matches(hosts: str, host: str) -> bool:
    _, _, salt, _ = (*hosts.split("|"), "", "", "")[:4]
    try:
        return hmac.compare_digest(_hashed(host, base64.b64decode(salt)), hosts)
    except binascii.Error:
        return False


def _with_hash(line: str, host: str, seed: str) -> str:
    """The name gives way to its hash. The salt is new for each task: it need not be secret, only another each time."""
    salt = hashlib.sha1(encoded(f"{seed} {host} {line}"), usedforsecurity=False).digest()
    words = line.split()
    at = 1 if words[0].startswith("@") else 0
    return " ".join([*words[:at], _hashed(host, salt), *words[at + 1 :]])
