"""Traefik's configuration and what its API and metrics answer, as pure functions.

The dial is one file of the file provider (JSON, which is YAML): a weighted service for the share, and the dial itself
as a middleware that nothing uses, which the API shows as it is in force. Documentation: doc.traefik.io, routing of
HTTP services (weighted, failover), file provider, Prometheus metrics.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from ciflow.dataclass import dataclass
from ciflow.encoding import loads
from ciflow.rollout.routers.counts import Counts
from ciflow.rollout.routers.dial import WHOLE, Dial, RouterError, Slot

JSON = dict[str, Any]
BUCKETS = (0.005, 0.01, 0.02, 0.025, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.5, 0.75, 1.0, 1.5, 2.0, 2.5, 5.0, 10.0)
HEADER = "X-Ciflow-Dial"
REPEATABLE = "(Method(`GET`) || Method(`HEAD`)) && !HeaderRegexp(`Upgrade`, `.+`)"


@dataclass(frozen=True, slots=True)
class TraefikSettings:
    """`router: {traefik: ..}`. Times in seconds. `file` is the dial file, `admin` the loopback host:port of Traefik's
    API and metrics, `route` what its own router has (rule, entryPoints, tls, middlewares) in Traefik's words."""

    embedded: bool
    dir: str
    file: str
    admin: str
    route: Mapping[str, Any]
    port: int = 0
    bind: str = "0.0.0.0"
    binary: str = ""
    timeout: float = 15.0
    connect_timeout: float = 1.0
    edges: tuple[float, ...] = ()
    tester: tuple[str, str] | None = None

    def path(self, name: str) -> str:
        return f"{self.dir.rstrip('/')}/{name}"


def whole(settings: TraefikSettings) -> str:
    """The start-up file of a Traefik that ciflow starts itself: changes of the dial file are taken at once, and the
    gates' latency edges are among the histogram's buckets, so that counts are exact there."""
    host = f"[{settings.bind}]" if ":" in settings.bind else settings.bind
    document: JSON = {
        "entryPoints": {"web": {"address": f"{host}:{settings.port}"}, "traefik": {"address": settings.admin}},
        "api": {"insecure": True},  # on loopback, and it only reads
        "metrics": {
            "prometheus": {
                "addServicesLabels": True,
                "addEntryPointsLabels": False,
                "buckets": sorted({*BUCKETS, *settings.edges}),
            }
        },
        "providers": {"providersThrottleDuration": 0, "file": {"filename": settings.file, "watch": True}},
        "log": {"level": "WARN"},
        "global": {"checkNewVersion": False, "sendAnonymousUsage": False},
    }
    return json.dumps(document, indent=1)


def snippet(settings: TraefikSettings) -> str:
    """What a user's own start-up file must have."""
    folder, _, _ = settings.file.rpartition("/")
    edges = ", ".join(f"{edge:g}" for edge in sorted({*BUCKETS, *settings.edges}))
    return (
        f"entryPoints:\n  traefik: {{address: {settings.admin}}}\napi: {{insecure: true}}\n"
        f"metrics: {{prometheus: {{addServicesLabels: true, buckets: [{edges}]}}}}\n"
        f"providers:\n  providersThrottleDuration: 0\n  file: {{directory: {folder}, watch: true}}"
    )


# --- the dial -------------------------------------------------------------------------------------------


def name(service: str, *what: str) -> str:
    """A name of ours among Traefik's. `@` and `.` mean something there."""
    return "-".join(("ciflow", re.sub(r"[^a-zA-Z0-9_-]", "_", service), *what))


def dial_file(service: str, slots: Mapping[str, Slot], dial: Dial, settings: TraefikSettings) -> bytes:
    """The dynamic configuration, whole.

    A request that may be sent twice (RFC 9110, 9.2.2) goes to the other slot when its own gives no connection; any
    other is not held back in memory for that.
    """
    said = {"headers": {"customRequestHeaders": {HEADER: dial.to_json()}}}
    services: JSON = {}
    for own, other in (("a", "b"), ("b", "a")):
        services[name(service, own)] = _server(service, slots[own])
        services[name(service, own, "backup")] = _server(service, slots[other])
        services[name(service, own, "safely")] = {
            "failover": {
                "service": name(service, own),
                "fallback": name(service, own, "backup"),
                "errors": {"status": ["502"]},
            }
        }
    services[name(service, "repeatable")] = _weighted(service, dial.share, "safely")
    services[name(service, "once")] = _weighted(service, dial.share)
    forwarding = {
        "dialTimeout": f"{settings.connect_timeout:g}s",
        "responseHeaderTimeout": f"{settings.timeout:g}s",
    }
    document: JSON = {
        "http": {
            "routers": _routers(service, dial, settings),
            "middlewares": {name(service, "dial"): said},
            "services": services,
            "serversTransports": {name(service): {"forwardingTimeouts": forwarding}},
        }
    }
    return json.dumps(document, indent=1).replace("{{", "{\\u007b").encode()  # it reads its files as Go templates


def _routers(service: str, dial: Dial, settings: TraefikSettings) -> JSON:
    """The more special rule has the higher priority, beginning at the user's own."""
    route = dict(settings.route)
    rule = route.pop("rule")
    lowest = int(route.pop("priority", len(rule)))
    routers: JSON = {
        name(service, "once"): {"rule": rule, "service": name(service, "once")},
        name(service, "repeatable"): {"rule": f"({rule}) && {REPEATABLE}", "service": name(service, "repeatable")},
    }
    if settings.tester and dial.live:
        header, value = settings.tester
        candidate = name(service, dial.candidate)
        routers[name(service, "testers")] = {"rule": f"({rule}) && Header(`{header}`, `{value}`)", "service": candidate}
    for number, router in enumerate(routers.values()):
        router.update(route, priority=lowest + number)
    return routers


def _server(service: str, slot: Slot) -> JSON:
    servers = [{"url": f"http://{slot.authority}"}]
    return {"loadBalancer": {"servers": servers, "serversTransport": name(service)}}


def _weighted(service: str, share: int, *what: str) -> JSON:
    weights = (("b", share), ("a", WHOLE - share))
    return {"weighted": {"services": [{"name": name(service, s, *what), "weight": n} for s, n in weights]}}


def parse(content: bytes, where: str, service: str) -> Dial:
    """The dial in one of our files."""
    try:
        return said(loads(content)["http"]["middlewares"][name(service, "dial")])
    except (ValueError, LookupError, TypeError) as error:
        raise RouterError(
            f"{where} is not a dial file of ciflow: {error!r}",
            help="Move it away; the next rollout or rollback writes a new one.",
        ) from error


def said(middleware: JSON) -> Dial:
    """The dial of the middleware, in a file or by Traefik's own word."""
    return Dial.from_json(middleware["headers"]["customRequestHeaders"][HEADER])


# --- counters -------------------------------------------------------------------------------------------

_LINE = re.compile(r"^traefik_service_(?P<name>\w+)\{(?P<labels>.*)\} (?P<value>\S+)$", re.MULTILINE)
_LABEL = re.compile(r'(\w+)="([^"]*)"')
STARTED = r"(?m)^process_start_time_seconds (\S+)$"


@dataclass(frozen=True, slots=True)
class _Series:
    """Requests of one of our services by status code, and how many took at most an edge by code and edge."""

    codes: Mapping[str, int]
    within: Mapping[tuple[str, float], int]

    def total(self, first: str = "") -> int:
        return sum(n for code, n in self.codes.items() if code.startswith(first))


def started(text: str) -> float | None:
    """When the process began, in Unix seconds; None where the metrics don't say."""
    found = re.search(STARTED, text)
    return float(found[1]) if found else None


def parse_counts(text: str, service: str, edges: Sequence[float]) -> Mapping[str, Counts]:
    """Counts of both slots from the metrics. RouterError where Traefik has no bucket at an edge."""
    codes: dict[str, dict[str, int]] = {}
    within: dict[str, dict[tuple[str, float], int]] = {}
    for line in _LINE.finditer(text):
        labels = dict(_LABEL.findall(line["labels"]))
        of, code, number = labels["service"].partition("@")[0], labels.get("code", ""), int(float(line["value"]))
        if line["name"] == "requests_total":
            found = codes.setdefault(of, {})
            found[code] = found.get(code, 0) + number
        elif line["name"] == "request_duration_seconds_bucket":
            times = within.setdefault(of, {})
            at = (code, float(labels["le"]))
            times[at] = times.get(at, 0) + number
    series = {of: _Series(codes[of], within.get(of, {})) for of in codes}
    none = _Series({}, {})
    return {
        slot: _slot(series.get(name(service, slot), none), series.get(name(service, slot, "backup"), none), edges)
        for slot in ("a", "b")
    }


def _slot(own: _Series, backup: _Series, edges: Sequence[float]) -> Counts:
    """The slot's own answers; those of its backup are the ones it failed to give (502), so they are bad already."""
    gone = own.codes.get("499", 0)
    return Counts(
        requests=own.total(),
        bad=own.total("5") + gone,
        slower={edge: _slower(own, edge) + gone for edge in edges},
        unanswered=gone,
        diverted=backup.total() - backup.total("5"),
        client_errors=own.total("4") - gone,
    )


def _slower(own: _Series, edge: float) -> int:
    """Answers that took longer than the edge, left ones aside."""
    found = 0
    for code, number in own.codes.items():
        if code == "499":
            continue
        if (code, edge) not in own.within:
            raise RouterError(
                f"Traefik has no histogram bucket at {edge:g} s, which a gate asks for",
                help=f"metrics: {{prometheus: {{buckets: [.., {edge:g}]}}}} in its start-up file, then restart it",
            )
        found += number - own.within[code, edge]
    return found


def errors_script(url: str, own: str) -> str:
    """Prints `bad N`: the bad answers of one of our services since Traefik began, with what the host has to ask it."""
    at = shlex.quote(url)
    asking = f"curl -sf {at} || wget -qO- {at} || python3 -c {shlex.quote(_ASK)} {at}"
    mine = f'index($0, "traefik_service_requests_total{{") == 1 && index($0, "service=\\"{own}@")'
    bad = '/code="(5[0-9][0-9]|499)"/'
    summed = f'{mine} && {bad} {{ bad += $NF }} {{ lines++ }} END {{ if (lines) print "bad", bad + 0 }}'
    return f"{{ {asking}; }} 2> /dev/null | awk {shlex.quote(summed)}"


_ASK = "import sys, urllib.request as u; sys.stdout.write(u.urlopen(sys.argv[1], timeout=5).read().decode())"
