"""What OpenSSH's configuration files (ssh_config(5)) say about a host. Read here and not by paramiko: that takes a
condition it does not know for true, brackets for wild, and reads everything twice, when other blocks match.
"""

from __future__ import annotations

import functools
import getpass
import glob
import os
import re
import socket
import stat
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path

from ciflow.dataclass import dataclass
from ciflow.diagnostics import Refused, Unreachable
from ciflow.targets.ssh_keywords import (
    Settings,
    expand,
    first,
    fits,
    keyword,
    known,
    listed,
    number,
    put,
    tokens,
    words_of,
)

MATCH_EXEC = 30.0  # seconds
NOBODY = 65534  # whose root's files are in a user namespace
DEPTH = 16  # files in files, as OpenSSH has it
FAMILIES = {"inet": socket.AF_INET, "inet6": socket.AF_INET6}
_LINE = re.compile(r'\s*"?(\w+)"?(?:\s*=\s*|\s+|$)(.*)')


def settings_for(host: str, file: str, given: Settings) -> Settings:
    """What is `given`, and what the user's configuration and the machine's add to it; `file` alone where one is named.
    `hostname` is the host's name as it is connected to. Unreachable: a file can't be read; Refused: it makes no sense.
    """
    reading = _Reading(host, host, file, {word: list(words) for word, words in given.items()})
    reading.all()
    name = _real_name(host, reading.found)
    name = name if ":" in name else name.lower()
    canonical = _canonical(name, reading.found)
    if canonical or reading.wants_another or _canonicalizes(reading.found):
        reading.found["hostname"] = [canonical or name]
        reading = _Reading(host, canonical or name, file, reading.found, final=True)
        reading.all()
        return reading.found
    return {**reading.found, "hostname": [name]}


@dataclass(frozen=True, slots=True)
class _Line:
    word: str
    value: str
    place: str


@functools.lru_cache(maxsize=64)  # all hosts of a run read the same files
def _lines(text: str, name: str) -> tuple[_Line, ...]:
    found = []
    for at, line in enumerate(text.split("\n"), 1):
        line = line.strip(" \t\r\f")
        if line and not line.startswith("#"):
            parts, place = _LINE.fullmatch(line), f"{name}:{at}"
            if parts is None:
                raise Refused(f"{place}: {line!r} is no line of ssh's configuration")
            found.append(_Line(keyword(parts[1]), parts[2], place))
    return tuple(found)


@dataclass(slots=True)
class _Reading:
    """One pass over the files. OpenSSH makes a `final` one where a `Match final` or CanonicalizeHostname wants it, in
    which blocks are matched by the name that the first has come to."""

    asked: str
    name: str
    file: str  # in the place of the usual ones
    found: dict[str, list[str]]
    final: bool = False
    wants_another: bool = False

    def all(self) -> None:
        usual = (("~/.ssh/config", "~/.ssh"), ("/etc/ssh/ssh_config", "/etc/ssh"))
        for name, folder in ((self.file, "~/.ssh"),) if self.file else usual:
            path = Path(name).expanduser()
            if name != "none" and (self.file or path.is_file()):
                self._read(path, folder)

    def _read(self, path: Path, folder: str, active: bool = True, never: bool = False, depth: int = 0) -> None:
        """`never`: its own blocks hold for nobody, since the one that includes it doesn't hold."""
        if depth > DEPTH:
            raise Refused(f"{path}: ssh's configuration includes itself")
        for line in _lines(_text(path, mine=not self.file), str(path)):
            if line.word == "host":
                active = not never and self._hosts(line)
            elif line.word == "match":
                active = self._matches(line, not never)
            elif line.word == "include":
                for included in _included(folder, self._words(line)):
                    self._read(included, folder, active, never or not active, depth + 1)
            elif active:
                self._take(line)

    def _take(self, line: _Line) -> None:
        if not known(line.word):
            if listed(line.word, ",".join(self.found.get("ignoreunknown", ())).lower()):
                return
            raise Refused(
                f"{line.place}: ssh has no option {line.word}", help="mind its spelling, or see IgnoreUnknown"
            )
        put(self.found, line.word, self._words(line))

    def _words(self, line: _Line) -> list[str]:
        try:
            words = words_of(line.word, line.value)
        except ValueError as e:
            raise Refused(f"{line.place}: {e}") from e
        if not words:
            raise Refused(f"{line.place}: {line.word} says nothing")
        return words

    def _hosts(self, line: _Line) -> bool:
        found = False
        for pattern in self._words(line):
            if fits(self.name, pattern.removeprefix("!")):
                if pattern.startswith("!"):
                    return False
                found = True
        return found

    def _matches(self, line: _Line, holds: bool) -> bool:
        words = self._words(line)
        while words:
            word = words.pop(0)
            name, equals, value = word.removeprefix("!").partition("=")
            name, wanted = name.lower(), not word.startswith("!")
            if name == "all":
                return holds and wanted
            if name in ("canonical", "final"):
                self.wants_another |= name == "final"
                holds &= self.final is wanted
                continue
            if not equals and not words:
                raise Refused(f"{line.place}: `Match {name}` of what?")
            value = value if equals else words.pop(0)
            holds = holds and self._holds(name, value, line.place) is wanted
        return holds

    def _holds(self, name: str, value: str, place: str) -> bool:
        real = first(self.found, "hostname") if self.final else _real_name(self.asked, self.found)
        if name == "exec":
            return _ends_well(expand(value, tokens(self.asked, real, self.found, str(Path.home()))))
        compared: Mapping[str, tuple[str, str]] = {
            "host": (real.lower(), value.lower()),
            "originalhost": (self.asked.lower(), value.lower()),
            "user": (first(self.found, "user") or getpass.getuser(), value),
            "localuser": (getpass.getuser(), value),
            "tagged": (first(self.found, "tag"), value),
        }
        if name not in compared:
            raise Refused(f"{place}: `Match {name}` is not understood", help="use Match host, user, tagged or exec")
        text, patterns = compared[name]
        return listed(text, patterns) if text else not patterns


def _text(path: Path, *, mine: bool) -> str:
    """Nobody else may write what is `mine`: whoever can, can have commands run (ssh_config(5), FILES)."""
    try:
        with path.open(errors="replace") as file:
            now = os.fstat(file.fileno())
            if mine and (now.st_mode & stat.S_IWOTH or now.st_uid not in (0, os.getuid(), NOBODY)):
                raise Refused(f"{path} may be written by others", help=f"chown it to yourself, and chmod go-w {path}")
            return file.read()
    except OSError as e:
        raise Unreachable(f"{path}: {e.strerror}") from e


def _included(folder: str, patterns: list[str]) -> Iterator[Path]:
    """The files that an `Include` means; a relative one is looked for in `folder`."""
    for pattern in patterns:
        names = sorted(glob.glob(str(Path(folder).expanduser() / Path(pattern).expanduser())))  # noqa: PTH207
        yield from (Path(name) for name in names if not Path(name).is_dir())


def _ends_well(command: str) -> bool:
    """Whether the command of a `Match exec` ends with 0, in time."""
    try:
        done = subprocess.run(["/bin/sh", "-c", command], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                              timeout=MATCH_EXEC, check=False)  # fmt: skip
    except subprocess.TimeoutExpired:
        return False
    return done.returncode == 0


# --- the host's name


def _real_name(asked: str, found: Settings) -> str:
    return expand(first(found, "hostname") or "%h", {"h": asked})


def _canonicalizes(found: Settings) -> bool:
    return first(found, "canonicalizehostname").lower() in ("yes", "true", "always")


def _canonical(name: str, found: Settings) -> str:
    """The name with the domain in which it is found (CanonicalizeHostname), or "". Unreachable: it is found in none,
    and has to be."""
    direct = all(first(found, word).lower() in ("", "none") for word in ("proxycommand", "proxyjump"))
    wanted = _canonicalizes(found) and (direct or first(found, "canonicalizehostname").lower() == "always")
    if not wanted or re.fullmatch(r"[\d.]+|.*:.*", name):
        return ""
    if name.endswith("."):
        full = [name[:-1]]
    elif name.count(".") > number(found, "canonicalizemaxdots", 1):
        return ""
    else:
        full = [f"{name}.{domain}" for domain in found.get("canonicaldomains", ()) if domain.lower() != "none"]
    family = FAMILIES.get(first(found, "addressfamily").lower(), socket.AF_UNSPEC)
    for candidate in full:
        try:
            socket.getaddrinfo(f"{candidate}.", None, family, socket.SOCK_STREAM)
        except OSError:
            continue
        return candidate
    if first(found, "canonicalizefallbacklocal").lower() in ("no", "false"):
        raise Unreachable(f"{name}: there is none in the domains {' '.join(found.get('canonicaldomains', ()))}")
    return ""
