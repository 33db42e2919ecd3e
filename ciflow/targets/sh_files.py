"""Operations on files as scripts. See lower.py. Edits are computed here, from what was read, and written by
compare-and-set, so that regular expressions mean on every host what they mean in Python."""

from __future__ import annotations

import hashlib
import json
import posixpath
import re
import types
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from ciflow.diagnostics import Refused
from ciflow.model import Attrs, Copy, Edit, Link, Mkdir, Read, Remove, Reply, Stat, Wait, Walk, Write
from ciflow.targets.sh_words import (
    SMALL,
    Result,
    Script,
    Stage,
    Steps,
    assigned,
    described,
    escape,
    place,
    quoted,
    reply_of,
    text,
    told,
)  # fmt: skip

DIFF_LIMIT = 104448  # bytes of a file beyond which no diff is given (Ansible's max_diff_size)
_STAMP = "%Y%m%d%H%M.%S"  # Ansible's form of a time unless another is named: what `touch -t` takes
_LITERAL = re.compile(r"^[\w\s/:=@,;<>&%#!\"'~`-]*$")  # a regular expression that means itself


def _common(path: str, names: Mapping[str, str | bool], at: str = "") -> str:
    """Settings that functions of agent.sh read, and the words that they fail with."""
    says = {
        "is_directory": f"{path} is a directory", "not_directory": f"{path}: a folder above it is no directory",
        "no_folder": f"no directory {posixpath.dirname(path) or '.'}",
        "no_file": f"{path} is not there or can't be read",
        "in_the_way": f"{path}: something is in the way", "not_whole": f"{path}: what came is not what was announced "
        "(is the disk full?)", "no_user": f"no user named {names.get('owner')} here",
        "no_group": f"no group named {names.get('group')} here",
    }  # fmt: skip
    words = "\n".join(f"{name}={told(words)}" for name, words in says.items())
    return f"{words}\npath={at or place(path)}\n{assigned(names)}"


def _mode(mode: str) -> str:
    """Octal text with five digits, or `chmod` would leave a directory's setgid as it is; symbolic as it stands."""
    return f"{int(mode, 8):05o}" if re.fullmatch(r"[0-7]{1,5}", mode) else mode


def _ids(operation: Any) -> dict[str, str | bool]:
    return {"mode": _mode(operation.mode), "owner": operation.owner, "group": operation.group}


def _once(words: str, check: bool) -> Steps:
    result = yield Script(words, journalled=not check)
    return reply_of(result)


# --- what only looks


def _stat(operation: Stat, _key: str, _check: bool, _sha256: str) -> Steps:
    lines = [_common(operation.path, {}), f"look {'-L' if operation.follow else quoted('')}"]
    if operation.hash and operation.hash != "none":
        tool = quoted(operation.hash + "sum")
        flag = "" if operation.follow else '&& [ ! -L "$path" ]'
        lines.append(f'if [ -f "$path" ] {flag} && [ -r "$path" ]; then\n'
                     f'hash=$({tool} <"$path") || die; say hash "\\"${{hash%% *}}\\""\nfi')  # fmt: skip
    result = yield Script("\n".join(lines))
    reply = reply_of(result)
    if not reply.ok:
        return reply
    if not result.facts["exists"]:
        return replace(reply, data={"exists": False})
    may = result.fact("may")
    data = {"exists": True, "path": operation.path, **described(result.facts["now"]),
            "readable": "r" in may, "writable": "w" in may, "executable": "x" in may}  # fmt: skip
    if data["kind"] == "link":
        target, _, source = text(result.out).partition("\0")
        data |= {"target": target, "source": source}
    if "hash" in result.facts:
        data["hash"] = result.facts["hash"]
    return replace(reply, data=data)


def _read(operation: Read, _key: str, _check: bool, _sha256: str) -> Steps:
    path, limit = operation.path, operation.limit
    if operation.length > limit:
        return Reply(ok=False, error=f"{path}: {operation.length} bytes are more than the limit of {limit}",
                     errno="EFBIG")  # fmt: skip
    too_large = f"too_large={told(f'{path}: it has more than the limit of {limit} bytes')}"
    words = f"{_common(path, {})}\n{too_large}\nread_file {operation.offset} {operation.length} {limit}"
    result = yield Script(words)
    reply = reply_of(result)
    if not reply.ok:
        return reply
    if len(result.out) > limit:
        return Reply(ok=False, error=f"{path}: it has more than the limit of {limit} bytes", errno="EFBIG")
    size = max(int(result.facts["size"]), operation.offset + len(result.out))
    return replace(reply, stdout=result.out, data={"size": size})


# For each path of a walk, behind a mark that no name can hold: what a link says, where that leads, a file's hash.
_LINKS = """for f; do printf '%s l ' "$mark"; readlink -n "$f"; printf '\\n%s r ' "$mark"; readlink -n -f "$f"
printf '\\n%s n %s\\n' "$mark" "$f"; done"""
_HASHES = """for f; do if [ -r "$f" ]; then printf '%s h ' "$mark"; TOOL <"$f"; printf '%s p %s\\n' "$mark" "$f"; fi
done"""


def _walk(operation: Walk, _key: str, _check: bool, _sha256: str) -> Steps:
    """`find` tells what is there, in any names, and what is wanted of it is chosen here."""
    if operation.follow or operation.only.get("contains") is not None:
        what = "going into links" if operation.follow else "searching files by their content"
        raise Refused(f"{what} needs Python on the host, which is spoken to by its shell")
    depth = f"-maxdepth {operation.depth}" if operation.depth else ""
    each = {"l": _LINKS}
    if operation.hash and operation.hash != "none":
        each["f"] = _HASHES.replace("TOOL", quoted(operation.hash + "sum"))
    words = [
        _common(operation.path, {}),
        f'[ -d "$path" ] || fail ENOENT {told(f"{operation.path} is no directory")}',
        "read -r mark </proc/sys/kernel/random/uuid",
        'say mark "\\"$mark\\""\nsay groups "\\"$(id -u) $(id -G)\\""\nexport mark',
        f'{{ find "$path/" {depth} -exec stat -c "$mark s %f %h %u %g %s %X %Y %Z %i %d %U %G %n" {{}} +',
        *(f'find "$path/" {depth} -type {kind} -exec /bin/sh -c {quoted(one)} sh {{}} +' for kind, one in each.items()),
        '} >"$d/out"\ntrue',
    ]
    result = yield Script("\n".join(words))
    reply = reply_of(result)
    if not reply.ok:
        return reply
    try:
        return _found(operation, result)
    except re.error as e:
        return Reply(ok=False, error=f"the regular expression is wrong: {e}", errno="EINVAL")


def _found(operation: Walk, result: Result) -> Reply:
    """Entries in order, of those that `only` lets through."""
    from ciflow.targets import agent

    entries, more = _told_by_find(result)
    root = operation.path.rstrip("/")
    top = min(entries, key=len, default="")
    only, groups = operation.only, [int(word) for word in result.fact("groups").split()]
    wanted, without = (agent.name_tests(only.get(name, ()), only.get("regex", False)) for name in ("names", "without"))
    kept: list[dict[str, Any]] = []
    data: dict[str, Any] = {"entries": kept, "unread": _unread(result.err), "examined": len(entries) - 1}
    for path in sorted((one for one in entries if one != top), key=lambda one: one.split("/")):
        name = path.rpartition("/")[2]
        entry = {"exists": True, "path": f"{root}/{path[len(top) :]}", **described(entries[path])}
        if name.startswith(".") and not only.get("hidden", True):
            continue
        if (wanted and not any(test(name) for test in wanted)) or any(test(name) for test in without):
            continue
        if not agent.fits(_as_stat(entries[path]), dict(only), result.booted + result.facts["uptime"][1]):
            continue
        if len(kept) >= operation.limit:
            return Reply(truncated=True, data=data)
        kept.append(entry | _may(entry, groups) | more.get(path, {}))
    return Reply(data=data)


def _told_by_find(result: Result) -> tuple[dict[str, str], dict[str, dict[str, str]]]:
    """(words of `stat` by path, what else was told by path): records behind the mark."""
    entries: dict[str, str] = {}
    more: dict[str, dict[str, str]] = {}
    pending: dict[str, str] = {}
    names = {"l": "target", "r": "source", "h": "hash"}
    for record in text(result.out).split(result.fact("mark") + " ")[1:]:
        kind, value = record[0], record[2:].removesuffix("\n")
        if kind == "s":
            *words, path = value.split(" ", 12)
            entries[path] = " ".join(words)
        elif kind in names:
            pending[names[kind]] = value.partition(" ")[0] if kind == "h" else value
        else:
            more[value], pending = pending, {}
    return entries, more


def _as_stat(fact: str) -> Any:
    words = fact.split(" ")
    return types.SimpleNamespace(st_mode=int(words[0], 16), st_size=int(words[4]), st_atime=float(words[5]),
                                 st_mtime=float(words[6]), st_ctime=float(words[7]))  # fmt: skip


def _may(entry: Mapping[str, Any], groups: list[int]) -> dict[str, bool]:
    """What we may do with it by its mode alone (POSIX file access permissions); `groups` begins with the user."""
    mode, uid = int(entry["mode"], 8), groups[0]
    if uid == 0:
        runs = bool(mode & 0o111) or entry["kind"] == "directory"
        return {"readable": True, "writable": True, "executable": runs}
    shift = 6 if entry["uid"] == uid else 3 if entry["gid"] in groups[1:] else 0
    bits = mode >> shift & 7
    return {"readable": bool(bits & 4), "writable": bool(bits & 2), "executable": bool(bits & 1)}


def _unread(said: bytes) -> list[dict[str, str]]:
    """Folders that `find` could not read, from its own words (GNU quotes them, busybox doesn't)."""
    found = re.findall(r"^find: ['\u2018]?(.*?)['\u2019]?: (.*)$", text(said), re.MULTILINE)
    return [{"path": path.replace("//", "/"), "error": words} for path, words in found]


def _wait(operation: Wait, _key: str, _check: bool, _sha256: str) -> Steps:
    gone = operation.state in ("absent", "stopped")
    if operation.pattern and (operation.port or not _LITERAL.match(operation.pattern)):
        raise Refused("waiting for a regular expression needs Python on the host, which is spoken to by its shell")
    if operation.state == "drained":
        condition, gone = f"in_use {operation.port}", True
    elif operation.path:
        at = place(operation.path)
        condition = f"grep -qF -e {quoted(operation.pattern)} -- {at}" if operation.pattern else f"[ -e {at} ]"
    elif operation.port:
        condition = f"port_open {quoted(operation.host)} {operation.port}"
    else:
        condition = "false"
    delay = f"wait_until {int(operation.delay * 100)} 0.2 false\n" if operation.delay else ""
    limit, patience = int(operation.timeout * 100), max(1, round(operation.connect_timeout))
    words = f"{delay}patience={patience}\nwait_until {limit} {operation.sleep:g} {'not ' if gone else ''}{condition}"
    reply_to = yield Script(words)
    reply = replace(reply_of(reply_to), data={"elapsed": reply_of(reply_to).duration})
    if not reply.ok or reply_to.facts.get("met") or not (operation.port or operation.path):
        return reply
    what = operation.path or f"{operation.host}:{operation.port}"
    return replace(reply, ok=False, errno="ETIMEDOUT",
                   error=f"{what} was not {operation.state} within {operation.timeout:g} s")  # fmt: skip


# --- what changes


def _write(operation: Write, key: str, check: bool, sha256: str) -> Steps:
    old = yield from _for_diff(operation.path) if operation.diff else _nothing()
    reply: Reply = yield from _put(operation, key, check or operation.check, sha256, {})
    if old is None or not reply.changed or sha256 or b"\0" in operation.content or len(operation.content) > DIFF_LIMIT:
        return reply
    return replace(reply, data={**reply.data, "diff": [text(old), text(operation.content)]})


def _nothing() -> Any:
    yield from ()


def _for_diff(path: str) -> Any:
    """The file's bytes; None where it is too large or binary."""
    reply = yield from _read(Read(path=path, limit=DIFF_LIMIT), "", False, "")
    if reply.errno == "ENOENT":
        return b""
    return reply.stdout if reply.ok and b"\0" not in reply.stdout else None


def _put(
    operation: Write, key: str, check: bool, sha256: str, said: Mapping[str, Any], *, folders: bool = False
) -> Any:
    """Write's scripts. `said`: data that the reply, and so the record on the host, has beside its own. `folders`: those
    that are missing above the file are made."""
    after = sha256 or hashlib.sha256(operation.content).hexdigest()
    content = f"printf %b {quoted(escape(operation.content))}"
    if (sha256 or len(operation.content) > SMALL) and not check:
        if (yield Script(_has(operation.path, after))).facts.get("same"):
            content = ":"
        else:
            yield Stage(None if sha256 else operation.content)
            content = 'cat "$staged" && rm -f "$staged"'
    names = {**_ids(operation), "follow": operation.follow, "backup": operation.backup, "force": operation.force,
             "expect": operation.expect, "after": after, "nonce": key[:12], "check": check,
             "unsafe": operation.unsafe, "folders": folders,
             "unexpected": json.dumps(f"{operation.path} is not as expected, {operation.expect}")}  # fmt: skip
    lines = [_common(operation.path, names), f"content() {{ {content if not check else ':'}; }}",
             _checker(operation.validate)]  # fmt: skip
    lines += [f"say data.{name} {quoted(json.dumps(value))}" for name, value in said.items()]
    result = yield Script("\n".join([*lines, "write"]), journalled=not check)
    return reply_of(result)


def _has(path: str, sha256: str) -> str:
    return f'{_common(path, {})}\nhash_of "$path"\n[ "$hash" != {sha256} ] || say same true'


def _checker(validate: tuple[str, ...]) -> str:
    if not validate:
        return "check_with() { :; }"
    return "check_with() { " + " ".join(quoted(word).replace("%s", "'\"$1\"'") for word in validate) + "; }"


def _edit(operation: Edit, key: str, check: bool, _sha256: str) -> Steps:
    """Read, change here, write if nobody has changed it meanwhile."""
    from ciflow.targets import agent

    check = check or operation.check
    found = yield from _read(Read(path=operation.path), "", False, "")
    if not found.ok and found.errno != "ENOENT":
        return found
    absent, there = operation.spec.get("state") == "absent", found.ok
    if not there and (absent or not operation.create):
        if absent:
            data = {"msg": "file not present", "before": "", "after": "", "path": operation.path}
            return Reply(data=data)
        return Reply(ok=False, error=f"{operation.path} is not there, and create is not set", errno="ENOENT")
    old = found.stdout
    try:
        new, msg, more = agent.EDITS[operation.kind](old, there, dict(operation.spec), absent)
    except re.error as e:
        return Reply(ok=False, error=f"the regular expression is wrong: {e}", errno="EINVAL")
    before = hashlib.sha256(old).hexdigest() if there else "absent"
    write = Write(path=operation.path, content=new, mode=operation.mode, owner=operation.owner, group=operation.group,
                  backup=operation.backup, validate=operation.validate, expect=before,
                  unsafe=operation.unsafe)  # fmt: skip
    folders = not there and operation.kind != "replace"
    reply: Reply = yield from _put(write, key, check, "", {**more, "msg": msg}, folders=folders)
    short = max(len(old), len(new)) <= DIFF_LIMIT and b"\0" not in old
    if operation.diff and reply.changed and short and old != new:
        return replace(reply, data={**reply.data, "diff": [text(old), text(new)]})
    return reply


def _copy(operation: Copy, key: str, check: bool, _sha256: str) -> Steps:
    check = check or operation.check
    names = {**_ids(operation), "follow": True, "backup": operation.backup, "force": operation.force, "expect": "",
             "nonce": key[:12], "check": check, "unsafe": operation.unsafe, "folders": False}  # fmt: skip
    lines = [
        _common(operation.dest, names),
        f"from={place(operation.path)}",
        f'[ -f "$from" ] || fail ENOENT {told(f"{operation.path} is no file")}',
        '[ ! -d "$path" ] || path=$path/${from##*/}',
        'after=$(sha256sum <"$from") || die',
        "after=${after%% *}",
        '[ "$mode" != preserve ] || mode=0$(stat -L -c %a "$from")',
        'content() { cat "$from"; }',
        _checker(operation.validate),
        "write",
    ]
    return (yield from _once("\n".join(lines), check))


def _attrs(operation: Attrs, _key: str, check: bool, _sha256: str) -> Steps:
    check = check or operation.check
    times = {}
    for name in ("atime", "mtime"):
        value, form = getattr(operation, name), getattr(operation, f"{name}_form")
        if value and value != "now" and form not in ("", _STAMP):
            raise Refused(f"a time in the form {form!r} needs Python on the host, which is spoken to by its shell")
        times[name] = value if not value or value == "now" or form else f"@{value}"
    names = {**_ids(operation), **times, "recurse": operation.recurse, "check": check,
             "link": "" if operation.follow else "link"}  # fmt: skip
    there = '[ -e "$path" ]' + ("" if operation.follow else ' || [ -L "$path" ]')
    missing = f"{there} || fail ENOENT {told(f'{operation.path} is not there')}"
    return (yield from _once(f"{_common(operation.path, names)}\n{missing}\nset_attrs", check))


def _remove(operation: Remove, _key: str, check: bool, _sha256: str) -> Steps:
    check = check or operation.check
    return (yield from _once(f"{_common(operation.path, {'check': check})}\nremove", check))


def _mkdir(operation: Mkdir, _key: str, check: bool, _sha256: str) -> Steps:
    check = check or operation.check
    names = {**_ids(operation), "recurse": operation.recurse, "check": check, "temporary": operation.temporary}
    if not operation.temporary:
        path = operation.path.rstrip("/") or "/"
        words = f"{_common(path, names)}\nmake_folders\nsay data.path {told(operation.path)}"
        return (yield from _once(words, check))
    folder = operation.path or "/tmp"
    shape = f"{folder}/{operation.prefix}\0{operation.suffix}"
    at = "" if operation.path else '"${TMPDIR:-/tmp}"'
    words = f"{_common(folder, names, at)}\nmake_temporary {quoted(operation.prefix)} {quoted(operation.suffix)}"
    return (yield from _once(f"say data.path {told(shape)}\n{words}", check))


def _link(operation: Link, _key: str, check: bool, _sha256: str) -> Steps:
    check = check or operation.check
    leads = posixpath.join(posixpath.dirname(operation.path), operation.target)
    names = {"hard": operation.hard, "force": operation.force, "check": check}
    no_target = f"no_target={told(f'{leads}, which the link is to lead to, is not there')}"
    way = f"in_the_way={told(f'{operation.path} is there already; force would replace it')}"
    words = f"{_common(operation.path, names)}\n{no_target}\n{way}\nmake_link {quoted(operation.target)} {place(leads)}"
    return (yield from _once(words, check))


LOWERED: dict[str, Callable[[Any, str, bool, str], Steps]] = {
    "Stat": _stat, "Read": _read, "Walk": _walk, "Wait": _wait, "Write": _write, "Edit": _edit, "Copy": _copy,
    "Attrs": _attrs, "Remove": _remove, "Mkdir": _mkdir, "Link": _link,
}  # fmt: skip
