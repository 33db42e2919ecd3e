"""`deb822_repository`: a file of apt's sources in the newer form (deb822), with its key."""

from __future__ import annotations

import re
from collections.abc import Generator, Mapping
from typing import Any
from urllib.parse import urlsplit

from ciflow.model import Change, Context, Http, Mkdir, Outcome, Probe, Remove, Reply, Stat, Step, Steps, Write
from ciflow.modules.replies import difference, failure, predicted, well

_KEYRINGS = "/etc/apt/keyrings"
_KEY_LIMIT = 4 * 1024 * 1024  # bytes
# Arguments that are fields of the file, in the order of their names.
_FIELDS = (
    "allow_downgrade_to_insecure", "allow_insecure", "allow_weak", "architectures", "by_hash", "check_date",
    "check_valid_until", "components", "date_max_future", "enabled", "inrelease_path", "languages", "name", "pdiffs",
    "signed_by", "suites", "targets", "trusted", "types", "uris",
)  # fmt: skip
_SPELLED = {"name": "X-Repolib-Name", "uris": "URIs"}


def run(args: Mapping[str, Any], context: Context) -> Steps:
    """The key first, then the file that names it; `state: absent` takes both away."""
    slug = slug_of(args["name"])
    dest = f"/etc/apt/sources.list.d/{slug}.sources"
    keys = tuple(f"{_KEYRINGS}/{slug}.{ending}" for ending in ("asc", "gpg"))
    if args["state"] == "absent":
        return (yield from _absent(dest, keys))
    key = yield from _key(args.get("signed_by"), keys)
    if isinstance(key, Outcome):
        return key
    signed_by, key_file, changed = key
    repo = stanza({**args, "signed_by": signed_by})
    data = {"repo": repo, "dest": dest, "key_filename": key_file}
    reply = yield Change(Write(path=dest, content=repo.encode(), mode=args["mode"], diff=context.diff), last=True)
    if not well(reply):
        return failure(reply, data, f"can't write {dest}")
    return Outcome(changed=changed or reply.changed, data=data, diff=difference(reply))


def slug_of(name: str) -> str:
    """The name of the files: small letters, digits and dashes."""
    return re.sub(r"[^a-z0-9-]+", "", re.sub(r"[_\s]+", "-", name.lower()))


def stanza(args: Mapping[str, Any]) -> str:
    """The fields that are set, one a line; a text of several lines is indented, an empty one of them a full stop."""
    return "".join(f"{_field(name)}:{_value(args[name])}\n" for name in _FIELDS if args.get(name) is not None)


def _field(name: str) -> str:
    return _SPELLED.get(name) or name.replace("_", "-").title()


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return " yes" if value else " no"
    if isinstance(value, list | tuple):
        return f" {' '.join(map(str, value))}"
    if "\n" in str(value):
        return "".join(f"\n    {line.strip() or '.'}" for line in str(value).strip().splitlines())
    return f" {value}"


def _absent(dest: str, keys: tuple[str, ...]) -> Steps:
    changed = False
    for path in (dest, *keys):
        reply = yield Change(Remove(path=path))
        if not well(reply):
            return failure(reply, {"dest": dest}, f"can't take {path} away")
        changed = changed or reply.changed
    return Outcome(changed=changed, data={"repo": None, "dest": dest, "key_filename": keys[-1]})


def _key(
    given: str | None, keys: tuple[str, ...]
) -> Generator[Step, Reply, tuple[str | None, str | None, bool] | Outcome]:
    """(what the file says of its key, the file that the key lies in, whether that changed)."""
    if not given or "\n" in given:
        return given, None, False
    if given.startswith("/"):
        seen = yield Probe(Stat(path=given, follow=True))
        return given, given if seen.data.get("kind") == "file" else None, False
    if not urlsplit(given).scheme:
        return given, None, False
    got = yield Probe(Http(url=given, follow="all", limit=_KEY_LIMIT))
    if not well(got) or int(got.data.get("status", 0)) >= 400:
        return failure(got, {}, f"Could not fetch signed_by key: {given} answered {got.data.get('status', 'nothing')}")
    path = keys[0] if b"-----BEGIN PGP PUBLIC KEY BLOCK-----" in got.stdout else keys[1]
    reply = Reply()
    for operation in (Mkdir(path=_KEYRINGS, mode="0755"), Write(path=path, content=got.stdout, mode="0644")):
        reply = yield Change(operation)
        if not well(reply) and not predicted(reply):
            return failure(reply, {}, f"can't write {path}")
    return path, path, reply.changed
