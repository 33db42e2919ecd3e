"""What OpenSSH's configuration files (ssh_config(5)) say about a host. paramiko reads them, but for `Include`."""

from __future__ import annotations

import functools
import glob
import re
import shlex
import subprocess
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import paramiko

from ciflow.diagnostics import Refused, Unreachable
from ciflow.targets.ssh_options import Settings

MATCH_EXEC = 30.0  # seconds
DEPTH = 16  # files in files, as OpenSSH has it
_LINE = re.compile(r"\s*(\w+)(?:\s*=\s*|\s+)(.*)")


def settings_for(host: str, file: str, settled: Settings) -> Settings:
    """What the user's configuration and the machine's say; `file` alone where one is named."""
    lines = [f"{name} {values[0]}" for name, values in settled.items() if name in ("hostname", "port", "user")]
    usual = (("~/.ssh/config", "~/.ssh"), ("/etc/ssh/ssh_config", "/etc/ssh"))
    for name, folder in ((file, "~/.ssh"),) if file else usual:
        path = Path(name).expanduser()
        if name != "none" and path.is_file():
            try:
                lines += flattened(path.read_text(errors="replace"), functools.partial(_included, folder))
            except (OSError, ValueError) as e:
                raise Unreachable(f"{path}: {e}") from e
    setattr(paramiko.config, "invoke", _MatchExec)  # noqa: B010 - its own reads our standard input meanwhile
    try:
        found = _parsed("\n".join(lines)).lookup(host)
    except (paramiko.ConfigParseError, paramiko.CouldNotCanonicalize) as e:
        raise Unreachable(f"ssh's configuration: {e}") from e
    return {key: list(value) if isinstance(value, list) else [str(value)] for key, value in found.items()}


@functools.lru_cache(maxsize=8)  # hosts of one login read the same lines
def _parsed(text: str) -> paramiko.SSHConfig:
    return paramiko.SSHConfig.from_text(text)


class _MatchExec:
    """Runs the command of a `Match exec` in the place of paramiko's: `ok` is whether it ended with 0, in time."""

    def __init__(self, command: str) -> None:
        try:
            done = subprocess.run(["/bin/sh", "-c", command], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                  timeout=MATCH_EXEC, check=False)  # fmt: skip
            self.ok = done.returncode == 0
        except subprocess.TimeoutExpired:
            self.ok = False

    @classmethod
    def run(cls, command: str, *, hide: str, warn: bool) -> _MatchExec:  # noqa: ARG003
        return cls(command)


def _included(folder: str, pattern: str) -> list[str]:
    """The files that an `Include` means; a relative one is looked for in `folder`."""
    names = sorted(glob.glob(str(Path(folder).expanduser() / Path(pattern).expanduser())))  # noqa: PTH207
    return [Path(name).read_text(errors="replace") for name in names]


def flattened(
    text: str, read: Callable[[str], Iterable[str]], within: tuple[str, ...] = (), depth: int = 0
) -> Iterator[str]:
    """The lines of `text` with those of the files that it includes in their places; `read` gives the texts of a
    pattern of files. `within` are the conditions under which it is included: its own blocks hold under them too."""
    if depth > DEPTH:
        raise Refused("ssh's configuration includes itself")
    block = within
    yield _header(block)
    for line in text.splitlines():
        found = _LINE.match(line)
        word, value = (found[1].lower(), found[2].strip()) if found else ("", "")
        if word in ("host", "match"):
            block = (*within, *_conditions(word, value))
            yield _header(block)
        elif word == "include":
            for pattern in shlex.split(value):
                for included in read(pattern):
                    yield from flattened(included, read, block, depth + 1)
            yield _header(block)
        else:
            yield line


def _header(conditions: tuple[str, ...]) -> str:
    return "Match " + " ".join(conditions) if conditions else "Host *"


def _conditions(word: str, value: str) -> tuple[str, ...]:
    """`Host a b` is what `Match originalhost a,b` is."""
    if word == "match":
        return () if value.lower() == "all" else (value,)
    patterns = shlex.split(value)
    return () if patterns == ["*"] else (f"originalhost {shlex.quote(','.join(patterns))}",)
