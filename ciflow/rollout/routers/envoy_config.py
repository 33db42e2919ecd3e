"""Envoy's configuration as pure functions: bootstrap, the route resource that is the dial, and what admin answers.

The dial is one `RouteConfiguration` (docs: envoy.config.route.v3): weighted clusters for the share, `version_info`
for token and revision, `metadata` for the manifest. One resource, so all of it changes at once or not at all.
"""

from __future__ import annotations

import ipaddress
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from ciflow.dataclass import dataclass
from ciflow.encoding import loads
from ciflow.rollout.routers.counts import Counts
from ciflow.rollout.routers.dial import WHOLE, Dial, RouterError, Slot

JSON = dict[str, Any]
ROUTE = "type.googleapis.com/envoy.config.route.v3.RouteConfiguration"
BUCKETS = (5, 10, 20, 25, 30, 40, 50, 60, 75, 80, 100, 120, 125, 150, 200, 250, 300, 400, 500, 600, 750, 800,
           1000, 1200, 1500, 2000, 2500, 3000, 4000, 5000, 7500, 10_000, 15_000, 30_000)  # fmt: skip
RETRIES = 2  # another connection, then the other slot


@dataclass(frozen=True, slots=True)
class EnvoySettings:
    """`router: {envoy: ..}`. Times in seconds; `admin` is a path in a folder of 0700, or a loopback host:port."""

    port: int
    dir: str
    bind: str = "0.0.0.0"
    admin: str = ""
    binary: str = ""
    concurrency: int = 2
    timeout: float = 15.0
    connect_timeout: float = 1.0
    edges: tuple[float, ...] = ()
    mirror: bool = False  # its start-up file knows where copies of requests go
    tester: tuple[str, str] | None = None  # header and value that send a request to the candidate at any share
    by: str = ""

    def file(self, name: str) -> str:
        return f"{self.dir.rstrip('/')}/{name}"

    @property
    def admin_address(self) -> str:
        return self.admin or self.file("admin.sock")


def cluster_name(service: str, slot: str) -> str:
    return f"{service}_{slot}"


def mirror_name(service: str, slot: str) -> str:
    """The cluster for copies of requests: the slot alone, for a copy must never be served by the live slot."""
    return f"{service}_{slot}_mirror"


def _address(host: str, port: int) -> JSON:
    return {"socket_address": {"address": host, "port_value": port}}


def _admin(address: str) -> JSON:
    if address.startswith("/"):
        return {"pipe": {"path": address, "mode": 0o600}}
    host, _, port = address.rpartition(":")
    return _address(host.strip("[]"), int(port))


def _is_ip(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def _endpoints(slots: Sequence[Slot]) -> list[JSON]:
    """One locality for each slot, the first with the highest priority."""
    return [
        {
            "priority": priority,
            "locality": {"zone": slot.name},
            "lb_endpoints": [{"endpoint": {"address": _address(slot.address, slot.port)}}],
        }
        for priority, slot in enumerate(slots)
    ]


def _cluster(service: str, slot: Slot, other: Slot, settings: EnvoySettings) -> JSON:
    """The slot's own cluster: its endpoint, then the other slot's for when its own can't be reached.

    Only failed connections eject an endpoint (never its 5xx: those the judge must see).
    """
    name = cluster_name(service, slot.name)
    static = _is_ip(slot.address) and _is_ip(other.address)
    return {
        "name": name,
        "type": "STATIC" if static else "STRICT_DNS",
        "connect_timeout": f"{settings.connect_timeout}s",
        "load_assignment": {"cluster_name": name, "endpoints": _endpoints((slot, other))},
        "common_lb_config": {"healthy_panic_threshold": {"value": 0}},
        "circuit_breakers": {
            "thresholds": [
                {"max_connections": 65536, "max_pending_requests": 65536, "max_requests": 65536, "max_retries": 65536}
            ]
        },
        "outlier_detection": {
            "split_external_local_origin_errors": True,
            "consecutive_local_origin_failure": 3,
            "enforcing_consecutive_5xx": 0,
            "enforcing_consecutive_gateway_failure": 0,
            "enforcing_success_rate": 0,
            "enforcing_local_origin_success_rate": 0,
            "interval": "0.5s",
            "base_ejection_time": "1s",
            "max_ejection_time": "5s",
            "max_ejection_percent": 100,
        },
    }


def _mirror(service: str, slot: Slot, settings: EnvoySettings) -> JSON:
    name = mirror_name(service, slot.name)
    return {
        "name": name,
        "type": "STATIC" if _is_ip(slot.address) else "STRICT_DNS",
        "connect_timeout": f"{settings.connect_timeout}s",
        "load_assignment": {"cluster_name": name, "endpoints": _endpoints((slot,))},
    }


def _listener(service: str, settings: EnvoySettings) -> JSON:
    manager = {
        "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3"
        ".HttpConnectionManager",
        "stat_prefix": service,
        "rds": {
            "route_config_name": service,
            "config_source": {
                "resource_api_version": "V3",
                "path_config_source": {"path": settings.file("dial.json")},
            },
        },
        "http_filters": [
            {
                "name": "envoy.filters.http.router",
                "typed_config": {"@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"},
            }
        ],
    }
    chain = {"filters": [{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]}
    return {"name": service, "address": _address(settings.bind, settings.port), "filter_chains": [chain]}


def bootstrap(service: str, slots: Mapping[str, Slot], settings: EnvoySettings) -> str:
    """Envoy's whole start-up file. The gates' latency edges are among the histogram buckets, so counts are exact
    there; the usual ones always are, so that a release with other gates needs no other start-up file."""
    a, b = slots["a"], slots["b"]
    mirrors = [_mirror(service, slot, settings) for slot in (a, b)] if settings.mirror else []
    document: JSON = {
        "admin": {"address": _admin(settings.admin_address)},
        "stats_flush_on_admin": True,  # a scrape sees the histograms of now, not of the last flush
        "static_resources": {
            "listeners": [_listener(service, settings)],
            "clusters": [_cluster(service, a, b, settings), _cluster(service, b, a, settings), *mirrors],
        },
    }
    buckets = sorted({*BUCKETS, *(round(edge * 1000) for edge in settings.edges)})
    document["stats_config"] = {
        "histogram_bucket_settings": [{"match": {"prefix": "cluster."}, "buckets": buckets}],
    }
    return json.dumps(document, indent=1, sort_keys=True)


def resource(service: str, dial: Dial, settings: EnvoySettings) -> bytes:
    """The discovery response that makes Envoy route as the dial says: its file, whole."""
    route = {
        "weighted_clusters": {
            "clusters": [  # b first: who is in at 5 % is in at 25 %
                {"name": cluster_name(service, "b"), "weight": dial.share},
                {"name": cluster_name(service, "a"), "weight": WHOLE - dial.share},
            ]
        },
        **_patience(settings),
    }
    if dial.mirror and dial.live:
        part = {"default_value": {"numerator": dial.mirror, "denominator": "TEN_THOUSAND"}}
        copies = {"cluster": mirror_name(service, dial.candidate), "runtime_fraction": part}
        route["request_mirror_policies"] = [copies]
    routes = _drawn(route, dial, settings)
    if settings.tester and dial.live:
        header, value = settings.tester
        match = {"prefix": "/", "headers": [{"name": header, "string_match": {"exact": value}}]}
        to_candidate = {"cluster": cluster_name(service, dial.candidate), **_patience(settings)}
        routes.insert(0, {"match": match, "route": to_candidate})
    document = {
        "version_info": version(dial),
        "resources": [
            {
                "@type": ROUTE,
                "name": service,
                "metadata": {"filter_metadata": {"ciflow": {"dial": dial.to_json()}}},
                "virtual_hosts": [{"name": service, "domains": ["*"], "routes": routes}],
            }
        ],
    }
    return json.dumps(document, indent=1).encode()


EVERYBODY: JSON = {"prefix": "/"}


def _drawn(route: JSON, dial: Dial, settings: EnvoySettings) -> list[JSON]:
    """Routes that draw by chance, or by the hash of a user and the release, so that the next release draws others. Who
    has no such header is drawn by chance. The last route is everybody's."""
    kind, _, name = settings.by.partition(":")
    match kind:
        case "ip":
            policy = (_hashed(dial, ":path", "^.*$", ""), {"connection_properties": {"source_ip": True}})
            return [{"match": EVERYBODY, "route": _by_hash(route, *policy)}]
        case "header":
            return [{"match": EVERYBODY, "route": _by_hash(route, _hashed(dial, name, "^(.*)$", r"\1"))}]
        case "cookie":
            return _by_cookie(route, dial, name or "ciflow")
        case _:
            return [{"match": EVERYBODY, "route": route}]


def _by_cookie(route: JSON, dial: Dial, name: str) -> list[JSON]:
    """Who has no cookie is drawn by the id that Envoy gives each request, and gets that id as cookie: it has the same
    hash."""
    known = rf"^(?:.*; *)?{name}=([^;]+).*$"
    match = {**EVERYBODY, "headers": [{"name": "cookie", "string_match": {"safe_regex": {"regex": known}}}]}
    fresh = {"key": "Set-Cookie", "value": f"{name}=%REQ(X-REQUEST-ID)%; Path=/; HttpOnly; SameSite=Lax"}
    return [
        {"match": match, "route": _by_hash(route, _hashed(dial, "cookie", known, r"\1"))},
        {
            "match": EVERYBODY,
            "route": _by_hash(route, _hashed(dial, "x-request-id", "^(.*)$", r"\1")),
            "response_headers_to_add": [{"header": fresh, "append_action": "APPEND_IF_EXISTS_OR_ADD"}],
        },
    ]


def _hashed(dial: Dial, header: str, pattern: str, user: str) -> JSON:
    """A hash of what `pattern` finds in a header, and of the release."""
    salt = re.sub(r"[^\w.-]", "_", dial.manifest.release)
    rewrite = {"pattern": {"regex": pattern}, "substitution": f"{salt}/{user}"}
    return {"header": {"header_name": header, "regex_rewrite": rewrite}}


def _by_hash(route: JSON, *policy: JSON) -> JSON:
    weighted = {**route["weighted_clusters"], "use_hash_policy": True}
    return {**route, "weighted_clusters": weighted, "hash_policy": list(policy)}


def _patience(settings: EnvoySettings) -> JSON:
    """Only a connection that was never made is tried again, so that no request can be served twice."""
    return {
        "timeout": f"{settings.timeout}s",
        "retry_policy": {
            "retry_on": "connect-failure",
            "num_retries": RETRIES,
            "retry_priority": {
                "name": "envoy.retry_priorities.previous_priorities",
                "typed_config": {
                    "@type": "type.googleapis.com/envoy.extensions.retry.priority.previous_priorities.v3"
                    ".PreviousPrioritiesConfig",
                    "update_frequency": 1,
                },
            },
        },
    }


def version(dial: Dial) -> str:
    return f"{dial.token}.{dial.revision}"


def parse_resource(content: bytes, where: str) -> Dial:
    """The dial in one of our files."""
    try:
        return _dial_of(loads(content)["resources"][0])
    except (ValueError, LookupError, TypeError) as error:
        raise RouterError(
            f"{where} is not a route file of ciflow: {error}",
            help="Move it away; the next rollout or rollback writes a new one.",
        ) from error


def _dial_of(route: JSON) -> Dial:
    """Token, live slot and manifest from the metadata; the share from the weights that Envoy really uses."""
    dial = Dial.from_json(route["metadata"]["filter_metadata"]["ciflow"]["dial"])
    weights = route["virtual_hosts"][0]["routes"][-1]["route"]["weighted_clusters"]["clusters"]
    return replace(dial, share=int(weights[0].get("weight", 0)))


def parse_dump(body: bytes, service: str) -> Dial | None:
    """The dial that Envoy has in force, from `/config_dump?resource=dynamic_route_configs`; None before the first."""
    for config in loads(body).get("configs", []):
        route = config.get("route_config", {})
        if route.get("name") == service:
            return _dial_of(route)
    return None


# --- counters -------------------------------------------------------------------------------------------

_LINE = re.compile(r"^envoy_cluster_(?P<name>\w+)\{(?P<labels>[^}]*)\} (?P<value>\S+)$", re.MULTILINE)
_LABEL = re.compile(r'(\w+)="([^"]*)"')


def parse_counts(prometheus: str, clusters: JSON, service: str, edges: Sequence[float]) -> Mapping[str, Counts]:
    """Counts of both slots from `/stats/prometheus` and the endpoints of `/clusters?format=json`."""
    values: dict[tuple[str, str, str], int] = {}
    for line in _LINE.finditer(prometheus):
        labels = dict(_LABEL.findall(line["labels"]))
        detail = labels.get("le") or labels.get("envoy_response_code_class", "")
        values[labels["envoy_cluster_name"], line["name"], detail] = int(float(line["value"]))
    diverted = _diverted(clusters, service)
    found = {}
    for slot in ("a", "b"):
        served = _slot_counts(values, cluster_name(service, slot), diverted[slot], edges)
        found[slot] = served.plus(_slot_counts(values, mirror_name(service, slot), 0, edges))
    return found


def _slot_counts(
    values: Mapping[tuple[str, str, str], int], cluster: str, diverted: int, edges: Sequence[float]
) -> Counts:
    def value(name: str, detail: str = "") -> int:
        return values.get((cluster, name, detail), 0)

    # A client that leaves makes Envoy close its connection to the slot (HTTP/1), and so does Envoy's own timeout.
    left = value("upstream_cx_destroy_local_with_active_rq") - value("upstream_rq_timeout")
    unanswered = max(0, left) + value("upstream_rq_cancelled")
    no_answer = unanswered + value("upstream_rq_timeout")
    timed = value("upstream_rq_time_count")
    slower = {edge: timed - value("upstream_rq_time_bucket", f"{edge * 1000:g}") + no_answer for edge in edges}
    return Counts(
        requests=value("upstream_rq_completed") + unanswered,
        bad=value("upstream_rq_xx", "5") + unanswered + diverted,
        slower=slower,
        unanswered=unanswered,
        diverted=diverted,
        client_errors=value("upstream_rq_xx", "4"),
        retries=value("upstream_rq_retry"),
    )


def _diverted(clusters: JSON, service: str) -> dict[str, int]:
    """Requests that the other slot answered well in a slot's stead: those of the second priority."""
    found = {"a": 0, "b": 0}
    for cluster in clusters.get("cluster_statuses", []):
        for slot in found:
            if cluster["name"] == cluster_name(service, slot):
                hosts = [host for host in cluster.get("host_statuses", []) if host.get("priority", 0) == 1]
                stats = (stat for host in hosts for stat in host.get("stats", []))
                found[slot] += sum(int(stat.get("value", 0)) for stat in stats if stat["name"] == "rq_success")
    return found
