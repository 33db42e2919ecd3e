"""Starts the agent at the far end of a pipe: finds Python, takes the wanted identity, sends the agent's one file.

A host without a Python of 3.7 or newer gets the agent that is written for a POSIX shell (agent.sh)."""

from __future__ import annotations

import base64
import functools
import hashlib
import secrets
import shlex
import sys
import time
import zlib
from collections.abc import Callable
from pathlib import Path

from ciflow.dataclass import dataclass
from ciflow.diagnostics import Denied, Lost, Unreachable
from ciflow.targets.become import become_command, denial, needs_terminal, terminal_arguments, wrong_password
from ciflow.targets.connection import Connection, Pipe

NO_PYTHON = "none"  # as interpreter: don't look for one
PYTHONS = ("python3", "python", "/usr/libexec/platform-python")
NOISE_LIMIT = 64 * 1024

# Read by Python 2 as well, so that an old one can say so. It reads exactly as many bytes as the agent has, and no
# more: frames follow. A compiled agent that an earlier start has left in our own private folder is used if it is there.
BOOTSTRAP = """
import os,sys
a,b,n,h,w=sys.argv[1:6]
m=a+"-"+b
def say(s):os.write(1,(m+s+"\\n").encode())
if sys.version_info<(3,7):
 say("-old-%d.%d"%sys.version_info[:2]);sys.exit(1)
if w=="wait":say("-ready")
n=int(n);p=b""
while len(p)<n:
 c=os.read(0,n-len(p))
 if not c:sys.exit(1)
 p+=c
import marshal
def load():
 d=os.path.expanduser("~/.local/state/ciflow")
 try:
  s=os.lstat(d)
  if s.st_uid!=os.geteuid() or s.st_mode&63:return None
  with open(d+"/agent-%s-%s"%(sys.implementation.cache_tag,h),"rb") as f:return marshal.loads(f.read())
 except (OSError,ValueError,EOFError,TypeError):return None
k=load()
if k is None:
 import zlib
 k=compile(zlib.decompress(p),"ciflow-agent","exec",dont_inherit=True)
g={"__name__":"ciflow_agent","PACKED":p,"PACKED_HASH":h,"CODE":k}
exec(k,g)
g["main"](m)
"""


# Waits for the agent behind whatever was meant for a Python that is not there.
SHELL_BOOTSTRAP = (
    'printf "%s-%s-shell\\n" "$1" "$2"; '
    'while IFS= read -r s; do case $s in "$1-$2 "*) eval "$(printf %b "${s#* }")"; exit;; esac; done'
)


@functools.cache
def packed_agent() -> bytes:
    """The agent's source, compressed."""
    return zlib.compress(Path(__file__).with_name("agent.py").read_bytes(), 6)


@functools.cache
def _packed_hash() -> str:
    return hashlib.sha256(packed_agent() + BOOTSTRAP.encode()).hexdigest()[:16]


@functools.cache
def _bootstrap() -> str:
    """BOOTSTRAP on one line without a backslash or quote that csh or fish, as login shells, would see otherwise."""
    packed = base64.b64encode(zlib.compress(BOOTSTRAP.encode())).decode()
    return f'import zlib,binascii;exec(zlib.decompress(binascii.a2b_base64("{packed}")))'


@dataclass(frozen=True, slots=True)
class Launch:
    """A command for the host's /bin/sh, and the marks by which its answers are told from a login's noise.

    The marks stand in the command in two parts, so that a shell that echoes its commands can't forge them.
    """

    command: str
    mark: bytes
    prompt: bytes
    password: str
    waits: bool  # the agent is sent only after "ready", or a prompt for a password would swallow it


def plan_launch(connection: Connection) -> Launch:
    """The command that starts the agent as the connection's identity. Refused: what can't be done there."""
    marks = secrets.token_hex(24)
    a, b, p, q = (marks[at : at + 12] for at in range(0, 48, 12))
    become = connection.become
    waits = bool(become and become.password) or connection.python == NO_PYTHON
    arguments = [_bootstrap(), a, b, str(len(packed_agent())), _packed_hash(), "wait" if waits else "go"]
    shell = connection.option("shell") or "/bin/sh"
    nowhere = f"exec {shell} -c {shlex.quote(SHELL_BOOTSTRAP)} sh {a} {b}"
    command = _by_python(connection, "-ISX utf8 -c " + " ".join(map(shlex.quote, arguments)), nowhere)
    prompt = b""
    if become is not None:
        words, prompt = become_command(become, command, p, q)
        if needs_terminal(become):
            nowhere = f'printf "%s-%s-none\\n" {a} {b}'
            command = _by_python(connection, f"{terminal_arguments()} {p} {q} {words}", nowhere)
        else:
            command = f"LC_ALL=C exec {words}"
    return Launch(command, f"{a}-{b}".encode(), prompt, become.password if become else "", waits)


def _by_python(connection: Connection, arguments: str, nowhere: str) -> str:
    """Shell words that replace the shell by a Python of the host; `nowhere` when it has none."""
    if connection.python == NO_PYTHON:
        return nowhere
    if connection.python != "auto":
        return f"exec {shlex.quote(connection.python)} {arguments}"
    if connection.kind == "local" and connection.become is None:
        return f"exec {shlex.quote(sys.executable)} {arguments}"
    found = f'if command -v "$p" >/dev/null 2>&1; then exec "$p" {arguments}; fi'
    return f"for p in {' '.join(PYTHONS)}; do {found}; done; {nowhere}"


def greet(pipe: Pipe, launch: Launch, connection: Connection, first: Callable[[], bytes]) -> tuple[Pipe, bytes]:
    """Bring the agent to its hello: (the pipe that speaks its frames, what followed the hello in it).

    `first` gives the frames that go with the agent, in the same packet. Unreachable or Denied: what stood in the way;
    TooOld: its Python does, and a shell may do.
    """
    until = time.monotonic() + max(connection.connect_timeout, 1.0)
    seen = frames = b""
    asked = sent = shell = False
    if not launch.waits:
        frames = first()
        _send(pipe, packed_agent() + frames)
    while True:
        before, found, after = seen.partition(launch.mark + b"-hello\n")
        if found:
            return _by_shell(pipe, frames or first(), after) if shell else (pipe, after)
        _refuse(seen, launch, connection)
        if not shell and launch.mark + b"-shell\n" in seen:
            shell = sent = True
            _send(pipe, agent_line(launch.mark))
        elif launch.waits and not sent and launch.mark + b"-ready\n" in seen:
            sent = True
            _send(pipe, packed_agent() + first())
        elif launch.prompt and not sent and launch.prompt in seen:
            if asked:
                raise wrong_password(connection.name, _identity(connection))
            asked = True
            seen = before.rpartition(launch.prompt)[2]
            _send(pipe, launch.password.encode("utf-8", "surrogateescape") + b"\n")
            continue
        data = pipe.receive(max(0.0, until - time.monotonic()))
        if data == b"" or (data is None and time.monotonic() >= until):
            raise _no_hello(connection, seen, asked=asked, timed_out=data is None)
        seen = (seen + (data or b""))[-NOISE_LIMIT:]


def _by_shell(pipe: Pipe, frames: bytes, rest: bytes) -> tuple[Pipe, bytes]:
    """The pipe of a shell that will speak in frames, told what another agent would have been told with its source."""
    from ciflow.targets.shell import ShellPipe

    spoken = ShellPipe(pipe, rest)
    spoken.send(frames)
    return spoken, b""


def agent_line(mark: bytes) -> bytes:
    """agent.sh as the line that SHELL_BOOTSTRAP waits for, behind whatever was sent before it."""
    from ciflow.targets.sh_words import escape

    source = Path(__file__).with_name("agent.sh").read_bytes()
    return b"\n" + mark + b" " + escape(source).encode() + b"\n"


class TooOld(Exception):
    """The Python that was found is older than the agent may be, and nobody has asked for it by name."""


def _send(pipe: Pipe, data: bytes) -> None:
    """To a program that may be gone: what it said before it went says why, and is still to be read."""
    try:
        pipe.send(data)
    except Lost:
        return


def _refuse(seen: bytes, launch: Launch, connection: Connection) -> None:
    hint = "set ansible_python_interpreter to a Python of 3.7 or newer"
    if launch.mark + b"-none\n" in seen:
        words = "doas asks for a password only at a terminal, which needs Python, and none was found"
        raise Unreachable(f"{connection.name}: {words} ({', '.join(PYTHONS)})", help=hint)
    _, old, rest = seen.partition(launch.mark + b"-old-")
    if old and b"\n" in rest and connection.python == "auto":
        raise TooOld
    if old and b"\n" in rest:
        version = rest.partition(b"\n")[0].decode("ascii", "replace")
        raise Unreachable(f"{connection.name}: its Python is {version}; the agent needs 3.7 or newer", help=hint)


def _no_hello(connection: Connection, seen: bytes, *, asked: bool, timed_out: bool) -> Denied | Unreachable:
    if connection.become and (denied := denial(seen, connection.name, _identity(connection), asked=asked)):
        return denied
    said = " ".join(seen.decode("utf-8", "replace").split())[-400:]
    why = f"did not start within {connection.connect_timeout:g} s" if timed_out else "could not be started"
    return Unreachable(f"{connection.name}: the agent {why} as {_identity(connection)}" + (f": {said}" if said else ""))


def _identity(connection: Connection) -> str:
    become = connection.become
    if become:
        return f"{become.user} by {become.method}"
    return connection.user or "the login user"
