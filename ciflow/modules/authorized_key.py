"""`authorized_key`: who may log in by which SSH key (the format is that of sshd(8), AUTHORIZED_KEYS FILE FORMAT)."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Generator, Mapping
from dataclasses import replace
from typing import Any

from ciflow.dataclass import dataclass
from ciflow.model import Context, Exec, Http, Mkdir, Outcome, Probe, Reply, Step, Steps, Write
from ciflow.modules.replies import difference, failure, text, well
from ciflow.modules.textfile import rewrite

_KIND = re.compile(
    r"(ssh-(ed25519|rsa|dss)|ecdsa-sha2-nistp(256|384|521)|sk-(ssh-ed25519|ecdsa-sha2-nistp256)@openssh\.com)"
    r"|(sk-)?(ssh-(ed25519|rsa|dss)|ecdsa-sha2-nistp(256|384|521))-cert-v01@openssh\.com"
)
_WORD = re.compile(r'(?:[^\s"]|"(?:\\.|[^"\\])*")+')
_OPTION = re.compile(r'(?:[^,"]|"(?:\\.|[^"\\])*")+')


@dataclass(frozen=True, slots=True)
class Key:
    """One line. `options` in their order, each as it is written; their order makes no difference."""

    kind: str
    key: str
    options: tuple[str, ...] = ()
    comment: str = ""

    def same(self, other: Key) -> bool:
        about = (self.kind, self.key, self.comment) == (other.kind, other.key, other.comment)
        return about and set(self.options) == set(other.options)

    def line(self) -> str:
        return " ".join(filter(None, (",".join(self.options), self.kind, self.key, self.comment))) + "\n"


def run(args: Mapping[str, Any], context: Context) -> Steps:
    """Read, and write only if a line is to change; the file and its folder then belong to the user alone."""
    path = args.get("path") or f"~{args['user']}/.ssh/authorized_keys"
    told = {name: args.get(name) for name in ("user", "key", "state", "exclusive", "manage_dir", "path")}
    told |= {"keyfile": path, "key_options": args.get("key_options"), "validate_certs": args["validate_certs"]}
    given = yield from _given(args)
    if isinstance(given, Reply):
        return failure(given, told, f"Error getting key from {args['key']}")
    wanted = [_wanted(line, args) for line in given]
    if None in wanted:
        return Outcome(failed=True, msg=f"invalid key specified: {given[wanted.index(None)]}", data=told)
    group = yield Probe(Exec(argv=("id", "-g", "--", args["user"])))
    if not well(group) and not (context.check and args.get("path")):
        return failure(group, told, f"Failed to lookup user {args['user']}")
    keys = [key for key in wanted if key is not None]
    return (yield from _write(args, context, path, keys, text(group.stdout).strip(), told))


def _write(
    args: Mapping[str, Any], context: Context, path: str, keys: list[Key], group: str, told: Mapping[str, Any]
) -> Steps:
    def edit(content: str) -> str:
        if args["state"] == "absent":
            return _without(content, keys)
        return _only(content, keys) if args["exclusive"] else _with(content, keys)

    owner = args["user"]
    follow = args["follow"]
    wish = Write(path=path, mode="0600", owner=owner, group=group, follow=follow, diff=context.diff)
    folder = Mkdir(path=posixpath.dirname(path), mode="0700", owner=owner, group=group)
    done = yield from rewrite(
        wish, edit, folder=folder if args["manage_dir"] else Mkdir(path=folder.path), attributes=False
    )
    if not well(done.reply):
        return failure(done.reply, told)
    return Outcome(changed=done.reply.changed, data=told, diff=difference(done.reply))


def parse(line: str) -> Key | None:
    """A line as a key; None for a comment, an empty line, or what is none."""
    words = list(_WORD.finditer(line.strip()))
    if not words or words[0][0].startswith("#"):
        return None
    at = next((number for number, word in enumerate(words[:2]) if _KIND.fullmatch(word[0])), None)
    if at is None or at + 1 >= len(words):
        return None
    options = tuple(_OPTION.findall(words[0][0])) if at else ()
    comment = line.strip()[words[at + 1].end() :].strip()
    return Key(words[at][0], words[at + 1][0], options, comment)


def _given(args: Mapping[str, Any]) -> Generator[Step, Reply, list[str] | Reply]:
    """The lines of keys that the task gives, from their address where it is one."""
    said = args["key"]
    if re.match(r"https?://", said):
        reply = yield Probe(Http(url=said, verify=args["validate_certs"], follow="all"))
        if not well(reply) or int(reply.data.get("status", 0)) != 200:
            return replace(reply, ok=False, error=reply.error or f"HTTP status {reply.data.get('status')}")
        said = text(reply.stdout)
    lines = (line.strip() for line in said.splitlines())
    return [line for line in lines if line and not line.startswith("#")]


def _wanted(line: str, args: Mapping[str, Any]) -> Key | None:
    key = parse(line)
    if key is None:
        return None
    if args.get("key_options") is not None:
        key = replace(key, options=tuple(_OPTION.findall(args["key_options"])))
    return key if args.get("comment") is None else replace(key, comment=args["comment"])


def _lines(content: str) -> list[str]:
    """Each with its end."""
    return [line if line.endswith("\n") else line + "\n" for line in content.splitlines(keepends=True)]


def _with(content: str, keys: list[Key]) -> str:
    """A key that is there with other options or another comment is replaced, by a line at the end."""
    for key in keys:
        found = [parse(line) for line in content.splitlines()]
        if not any(one is not None and one.same(key) for one in found):
            content = _without(content, [key])
            content = "".join(_lines(content)) + key.line()
    return content


def _without(content: str, keys: list[Key]) -> str:
    gone = {key.key for key in keys}
    lines = content.splitlines(keepends=True)
    return "".join(line for line in lines if (found := parse(line)) is None or found.key not in gone)


def _only(content: str, keys: list[Key]) -> str:
    """These keys and nothing else, not even comments; a line that is right stays as it is written."""
    there = [(parse(line), line) for line in _lines(content)]
    made = [next((line for one, line in there if one is not None and one.same(key)), key.line()) for key in keys]
    made = list(dict.fromkeys(made))
    kept = [line for _, line in there]
    return content if sorted(kept) == sorted(made) else "".join(made)
