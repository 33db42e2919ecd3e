"""Words for a POSIX shell, and what its answers mean: quoting, the escapes of `printf %b`, facts, errors. Pure."""

from __future__ import annotations

import errno
import json
import os
import re
import stat
from collections.abc import Generator, Mapping
from typing import Any, TypeAlias

from ciflow.dataclass import dataclass
from ciflow.encoding import loads
from ciflow.model import Reply

_PLAIN = frozenset(b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_@%+=:,./-!\"#$&'()*;<>?[]^`{|}~")
_ESCAPES = tuple(chr(byte) if byte in _PLAIN else f"\\0{byte:03o}" for byte in range(256))
_NAME = re.compile(r"^[A-Za-z_][A-Za-z0-9_]*$")
_TILDE = re.compile(r"^~([A-Za-z_][A-Za-z0-9_.-]*)?(?=/|$)")
# Beginnings of what tools say in the C locale, as strerror(3) does.
_ERRNOS = {os.strerror(number): name for number, name in errno.errorcode.items()}
_KINDS = (
    (stat.S_ISREG, "file"), (stat.S_ISDIR, "directory"), (stat.S_ISLNK, "link"), (stat.S_ISFIFO, "fifo"),
    (stat.S_ISSOCK, "socket"), (stat.S_ISCHR, "char"), (stat.S_ISBLK, "block"),
)  # fmt: skip
SMALL = 4 * 1024  # bytes that travel inside a script, where an escape makes up to nine of one
KEEP = 512 * 1024  # bytes of an Exec's stream that are kept of its head, and again of its tail


def escape(data: str | bytes) -> str:
    """One word of printable ASCII that `printf %b` makes `data` of again, whatever bytes it holds."""
    return "".join(map(_ESCAPES.__getitem__, raw(data)))


def raw(data: str | bytes) -> bytes:
    return data if isinstance(data, bytes) else data.encode("utf-8", "surrogateescape")


def text(data: bytes) -> str:
    return data.decode("utf-8", "surrogateescape")


def quoted(word: str) -> str:
    """A word in single quotes: no byte in it means anything to a shell."""
    return "'" + word.replace("'", "'\\''") + "'"


def place(path: str) -> str:
    """A path as a person writes it: ~ is the home folder, relative ones begin where the login does."""
    tilde = _TILDE.match(path)
    if tilde:
        rest = path[tilde.end() :]
        return ("~" + tilde.group(1) if tilde.group(1) else '"$home"') + (quoted(rest) if rest else "")
    return quoted(path) if path.startswith("/") else '"$here"/' + quoted(path)


def pattern(glob: str) -> str:
    """A pattern of file names for the shell to expand: only `*?[]!-^` keep their meaning."""
    return "".join(c if c.isalnum() or c in "*?[]!-^/._" else "'\n'" if c == "\n" else "\\" + c for c in glob)


def is_name(word: str) -> bool:
    """Whether a shell can have a variable of this name."""
    return _NAME.match(word) is not None


def told(words: str) -> str:
    """A JSON string as a word of the shell: what `fail` and `say` take."""
    return quoted(json.dumps(words))


def assigned(values: Mapping[str, str | bool]) -> str:
    """Lines that set variables: text as it is, true as 1, false as nothing."""
    return "\n".join(f"{name}={quoted(('1' if value else '') if isinstance(value, bool) else value)}"
                     for name, value in values.items())  # fmt: skip


@dataclass(frozen=True, slots=True)
class Result:
    """What a script came to: what it said of itself, and its two streams, head and tail where they are long."""

    facts: Mapping[str, Any]
    out: bytes = b""
    err: bytes = b""
    out_size: int = 0
    err_size: int = 0
    folder: str = ""  # where the streams lie on the host as a whole, when it keeps them
    booted: float = 0.0  # Unix seconds at which its clock of uptime began

    def fact(self, name: str) -> str:
        return str(self.facts.get(name, ""))


@dataclass(frozen=True, slots=True)
class Script:
    """One script. `journalled`: its start and its end are kept on the host; others only look, and may run again."""

    words: str
    journalled: bool = False


@dataclass(frozen=True, slots=True)
class Stage:
    """Bring content to a file of ours on the host, `$staged`; None: what the session has announced."""

    content: bytes | None = None


Steps: TypeAlias = Generator[Script | Stage, Result, Reply]


def facts_from(lines: list[bytes]) -> dict[str, Any]:
    """`name JSON` lines; a value that a tool has spoilt (a quote in a user's name) stays text."""
    facts: dict[str, Any] = {}
    for line in lines:
        name, _, value = text(line).partition(" ")
        try:
            facts[name] = loads(value)
        except ValueError:
            facts[name] = value.strip('"')
    return facts


def described(fact: str) -> dict[str, Any]:
    """Stat's data from the words of `facts_of`: mode links uid gid size atime mtime ctime inode device owner group."""
    words = fact.split(" ")
    mode = int(words[0], 16)
    numbers = dict(zip(("nlink", "uid", "gid", "size", "inode", "device"), map(int, [*words[1:5], *words[8:10]]),
                       strict=True))  # fmt: skip
    times = dict(zip(("atime", "mtime", "ctime"), map(float, words[5:8]), strict=True))
    names = {name: "" if word == "UNKNOWN" else word for name, word in zip(("owner", "group"), words[10:], strict=True)}
    kind = next((name for test, name in _KINDS if test(mode)), "")
    return {"kind": kind, "mode": f"{stat.S_IMODE(mode):04o}", **numbers, **times, **names}


def reply_of(result: Result) -> Reply:
    """The reply of a Change from its facts alone: what is read from a host's journal has no operation beside it."""
    facts = result.facts
    began, ended = facts.get("uptime") or (0.0, 0.0)
    data = {name[5:]: value for name, value in facts.items() if name.startswith("data.")}
    if "real" in facts:
        data["path"] = text(result.out)
    if "backup" in facts:
        data["backup"] = f"{data['path']}.{facts['backup']}"
    if "random" in facts:
        data["path"] = data["path"].replace("\0", str(facts["random"]), 1)
    if "now" in facts:
        now = described(facts["now"])
        data |= {name: now[name] for name in ("mode", "owner", "group", "uid", "gid", "size")}
    ran = "rc" in facts
    code, words = _went_wrong(result)
    common: dict[str, Any] = {
        "status": facts.get("status", "done"),
        "ok": not words and facts.get("ok", True) and facts.get("rc", 0) == 0 and facts.get("status") != "unknown",
        "changed": bool(facts.get("changed", False)),
        "error": words,
        "errno": code,
        "started": round(result.booted + began, 2) if began else 0.0,
        "duration": round(max(0.0, ended - began), 2),
    }
    if not ran:
        return Reply(**common, data=data)
    return Reply(**{**common, **_streams(result, data), **_end_of(facts)})


def _end_of(facts: Mapping[str, Any]) -> dict[str, Any]:
    signal = int(facts.get("signal", 0))
    return {"rc": -signal if signal else facts["rc"], "signal": signal, "cpu": _seconds(str(facts.get("cpu", "")))}


def _seconds(times: str) -> float:
    """User and system time as `times` of a shell tells it: `0m0.010000s 0m0.000000s`."""
    pairs = re.findall(r"(\d+)m([\d.]+)s", times)
    return round(sum(int(minutes) * 60 + float(seconds) for minutes, seconds in pairs), 6)


def _streams(result: Result, data: dict[str, Any]) -> dict[str, Any]:
    """Output, and where all of it lies on the host where it is longer than what is kept."""
    sizes = {"stdout": result.out_size, "stderr": result.err_size}
    omitted = {name: [KEEP, size - 2 * KEEP] for name, size in sizes.items() if size > 2 * KEEP}
    files = {"stdout": "out", "stderr": "err"}
    more = {"omitted": omitted} if omitted else {}
    spilled = {name: f"{result.folder}/{files[name]}" for name in omitted if result.folder}
    return {"stdout": result.out, "stderr": result.err, "truncated": bool(omitted), "spilled": spilled,
            "data": {**data, **more}}  # fmt: skip


def _went_wrong(result: Result) -> tuple[str, str]:
    """(errno, words) of what went wrong, if it did: said by the script, or by the tool that failed."""
    facts = result.facts
    why = facts.get("why")
    if why == "ETIMEDOUT":
        return "ETIMEDOUT", f"still running after {float(facts.get('limit', 0)):g} s: ended"
    if why == "EINTR":
        return "EINTR", "ended by the operator"
    if "overtaken" in facts:
        token, run = facts["overtaken"] or (0, "")
        return "ESTALE", f"another run ({run}, token {token}) has taken this project on the host"
    if "error" in facts:
        return result.fact("errno"), result.fact("error")
    if facts.get("ok", True) and ("rc" in facts or facts.get("script", 0) == 0):
        return "", ""
    said = " ".join(text(result.err).split())[-1000:]
    return next((name for words, name in _ERRNOS.items() if words in said), ""), said or "its script failed there"
