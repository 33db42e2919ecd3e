"""`canary:` of a play: the rollout's settings as the model holds them, durations in seconds, shares in 1/100 %."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

from ciflow.diagnostics import Findings
from ciflow.lang.inherit import Inherited
from ciflow.lang.kinds import duration, percent
from ciflow.lang.near import did_you_mean
from ciflow.lang.place import Place
from ciflow.lang.roles import flat
from ciflow.lang.schema import Schema, check_part, part_schema
from ciflow.lang.tasks import DYNAMIC, TaskReader
from ciflow.model import Block, Canary, CanaryStep, Node, Template

ROUTERS = ("haproxy", "envoy", "nginx", "traefik", "command", "gateway-api", "ingress-nginx", "istio",
           "replicas")  # fmt: skip
CLUSTERED = ("gateway-api", "ingress-nginx", "istio", "replicas")  # their dial is an object of a cluster
MIRRORS = ("envoy",)  # routers that can send copies of requests
STICKY = ("haproxy", "envoy", "nginx")  # routers that keep a user on one side
COUNT_USERS = ("haproxy", "nginx")  # those of them that count users beside requests
CUTS = ("haproxy", "envoy")  # routers that end the connections of one slot; in a cluster its pods are replaced
GATES = ("errors", "latency", "slo", "query")
PROVIDERS = ("prometheus", "http", "command", "datadog", "cloudwatch", "influxdb", "graphite")
ASKED = frozenset({*PROVIDERS, "bad", "total"})  # rendered when the slots are known: what a gate asks of its provider
# Known before the run: what the plan shows, and the time that steps and gates take.
SETTLED = ("steps", "hold", "alpha", "interval", "on_failure", "on_inconclusive", "deadline", "dead_man",
           "warm_up", "bake", "keep_warm", "drain", "by", "sick_for", "early")  # fmt: skip
_DURATIONS = ("deadline", "dead_man", "warm_up", "bake", "keep_warm", "drain", "interval", "sick_for")
_LEAST = {"interval": 0.05, "dead_man": 1.0}  # seconds; 0 of the others
# Keywords of a task that somebody must hear its end for, or that send it to another host.
_HEARD = ("register", "until", "retries", "notify", "async", "poll", "failed_when", "changed_when", "ignore_errors",
          "delegate_to", "debugger", "run_once", "irreversible")  # fmt: skip
_ALONE = "its host does this alone, when nobody hears how it ended"
Router = tuple[str, Mapping[str, Any]] | None
_PLACED = ("router", "slots", "gates")  # whose places are kept
_WORDS = ("on_failure", "on_inconclusive", "by")


def read_canary(play: Place, reader: TaskReader, above: Inherited, findings: Findings) -> Canary | None:
    """The play's canary with its `verify` and `retire` tasks; None where it has none, or faults were found."""
    place = play.fields.get("canary")
    if place is None or place.value is None:
        for word in ("verify", "retire"):
            if word in play.fields:
                findings.error(
                    "CF0130", f"`{word}` stands beside `canary`, which this play has not", play.key_span(word)
                )
        return None
    if not isinstance(place.value, dict):
        return None  # which the schema of the play tells
    before = len(findings.items)
    check_part("canary", place, findings)
    verify = reader.nodes(play.fields.get("verify"), above, (), "verify")
    retire = reader.nodes(play.fields.get("retire"), above, (), "retire")
    for node in retire:
        _alone(node, findings)
    router = _router(place, findings)
    if router is not None:
        _refused(router, play, retire, findings)
    slots = _slots(place, findings)
    steps = _steps(place, router, findings)
    gates = _gates(place.fields.get("gates"), findings)
    plain: dict[str, Any] = {**_durations(place, findings)}
    if findings.failed_since(before) or router is None:
        return None
    value = place.value
    words = {name: str(value[name]) for name in _WORDS if value.get(name) is not None}
    if value.get("alpha") is not None:
        plain["alpha"] = float(value["alpha"])
    if value.get("early") is not None:
        plain["early"] = bool(value["early"])
    spans = {name: place.fields[name].span for name in _PLACED if name in place.fields}
    canary = Canary(
        value["service"], value["version"], router, slots, steps, gates, verify=verify, retire=retire,
        require=value.get("require") or {},
        span=place.span, spans=spans, **plain, **words,  # type: ignore[arg-type]
    )  # fmt: skip
    _renewed_in_time(canary, place, findings)
    return canary


def _durations(place: Place, findings: Findings) -> dict[str, float]:
    """Those that are said, in seconds; the schema has named what is no duration at all."""
    found: dict[str, float] = {}
    for name in _DURATIONS:
        try:
            found[name] = duration(place.value[name])
        except (KeyError, ValueError):
            continue
        if found[name] < (least := _LEAST.get(name, 0.0)):
            findings.error("CF0130", f"`{name}` is at least {least:g} s", place.fields[name].span)
    return found


def _renewed_in_time(canary: Canary, place: Place, findings: Findings) -> None:
    if canary.dead_man <= canary.interval:
        said = "dead_man" if "dead_man" in place.fields else "interval"
        label = f"each `interval` ({canary.interval:g} s) renews it, and it lasts {canary.dead_man:g} s"
        findings.error("CF0130", "`dead_man` fires before it is renewed", place.fields[said].span, label=label)


def _alone(node: Node, findings: Findings) -> None:
    """Refuse in `retire` what needs somebody who hears how a task ended: the host does it alone, later."""
    if isinstance(node, Block):
        if node.has_rescue or node.always:
            findings.error("CF0130", "a block of `retire` has no `rescue` and no `always`", node.span, label=_ALONE)
        for below in node.body:
            _alone(below, findings)
        return
    if node.module in DYNAMIC or node.module == "meta":
        findings.error("CF0130", f"`{node.module}` has no place in `retire`", node.span, label=_ALONE)
    for word in node.spans:
        if word in _HEARD:
            findings.error("CF0130", f"`{word}` has no place in `retire`", node.spans[word], label=_ALONE)


def _router(place: Place, findings: Findings) -> tuple[str, Mapping[str, Any]] | None:
    below = place.fields.get("router")
    if below is None:
        return None
    if not isinstance(below.value, dict):
        return None  # which the schema tells
    if len(below.value) != 1:
        findings.error("CF0130", "`router` names one router and its settings", below.span,
                       help="router: {haproxy: {socket: .., backend: ..}}")  # fmt: skip
        return None
    kind, settings = next(iter(below.value.items()))
    if kind not in ROUTERS:
        label = did_you_mean(kind, ROUTERS, otherwise=f"there are {', '.join(ROUTERS)}")
        findings.error("CF0130", f"unknown router `{kind}`", below.key_span(kind), label=label)
        return None
    return str(kind), settings or {}


def _refused(router: tuple[str, Mapping[str, Any]], play: Place, retire: tuple[Node, ...], findings: Findings) -> None:
    """What that router has no way to do, said before anything runs."""
    kind, settings = router
    place = play.fields["canary"]
    value = place.value
    sized = kind in CLUSTERED and kind != "replicas" and "deployments" in settings
    if value.get("by") and kind not in STICKY:
        findings.error("CF0130", f"the router `{kind}` can't keep a user on one side", place.key_span("by"),
                       label=f"only {', '.join(STICKY[:-1])} and {STICKY[-1]} can")  # fmt: skip
    if value.get("drain") and kind not in CUTS and not sized:
        may = "with `deployments: {a: .., b: ..}` it replaces the pods of the slot that was left"
        label = may if kind in CLUSTERED and kind != "replicas" else f"only {' and '.join(CUTS)} can, and clusters"
        findings.error("CF0130", f"the router `{kind}` can't cut the connections of one slot",
                       place.key_span("drain"), label=label)  # fmt: skip
    if retire and kind == "replicas":
        findings.error("CF0130", "a slot of the router `replicas` without traffic has no pods to retire",
                       play.key_span("retire"))  # fmt: skip
    for task in flat(retire) if kind in CLUSTERED else ():
        if task.module != "k8s" and task.module not in DYNAMIC:
            findings.error("CF0130", f"`{task.module}` has no place in the `retire` of a slot in a cluster", task.span,
                           label="its guard does this alone, and knows objects only: say it with `k8s`")  # fmt: skip


def _slots(place: Place, findings: Findings) -> Mapping[str, Mapping[str, Any]]:
    below = place.fields.get("slots")
    if below is None or not isinstance(below.value, dict):
        return {}
    for name in ("a", "b"):
        if name not in below.value:
            findings.error("CF0130", f"slot `{name}` is missing", below.span, label="a service has slots a and b")
    for name in below.value:
        if name not in ("a", "b"):
            findings.error("CF0130", f"there is no slot `{name}`", below.key_span(name), label="slots are a and b")
        elif not isinstance(below.value[name], dict | Template | None):
            findings.error("CF0130", f"slot `{name}` is a mapping of its variables", below.fields[name].span)
    return {str(name): value or {} for name, value in below.value.items()}


def _steps(place: Place, router: Router, findings: Findings) -> tuple[CanaryStep, ...]:
    below = place.fields.get("steps")
    if below is None or not isinstance(below.value, list):
        return ()
    hold = place.value.get("hold")
    usual = 120.0 if hold is None else _or_zero(hold)
    found: list[CanaryStep] = []
    for item in below.items:
        step = _step(item, usual, router, findings)
        if step is None:
            continue
        if found and (step.weight < found[-1].weight or 0 < step.weight == found[-1].weight):
            findings.error(
                "CF0130", "steps must rise", item.span, label=f"the step before has {found[-1].weight / 100:g}%"
            )
        found.append(step)
    if not below.items:
        findings.error("CF0130", "a canary needs at least one step", below.span)
    return tuple(found)


def _or_zero(value: Any) -> float:
    try:
        return duration(value)
    except ValueError:
        return 0.0  # the schema has named the fault


def _step(place: Place, hold: float, router: Router, findings: Findings) -> CanaryStep | None:
    mirror = 0
    if isinstance(place.value, dict):
        before = len(findings.items)
        check_part("canary_step", place, findings)
        if findings.failed_since(before):
            return None
        weight, hold = place.value.get("weight", "0%"), duration(place.value.get("hold", hold))
        requests = int(place.value.get("min_requests") or 0)
        mirror = round(percent(place.value.get("mirror") or 0) * 100)
    else:
        weight, requests = place.value, 0
    before = len(findings.items)
    for name in ("weight", "mirror"):
        _without_sign(name, place.fields.get(name), findings, least=1.0)
    _without_sign("step", None if place.fields else place, findings, least=1.0)
    if findings.failed_since(before):
        return None
    try:
        share = percent(weight)
    except ValueError as error:
        findings.error("CF0130", str(error), place.span)
        return None
    kind, settings = router or ("", {})
    if hold < 0:
        findings.error("CF0130", "`hold` is at least 0 s", place.span)
        return None
    if mirror and (kind not in MIRRORS or not settings.get("mirror")):
        label = "router: {envoy: {mirror: true}} can" if kind in MIRRORS else f"only {', '.join(MIRRORS)} can"
        findings.error("CF0130", f"the router `{kind}` does not mirror requests", place.span, label=label)
    elif mirror and share:
        findings.error("CF0130", "a step mirrors requests or gives the candidate a share, not both", place.span)
    elif not mirror and share < 0.01 and (share or not settings.get("header")):
        label = "" if share else "0 % is for testers, whom the router's `header` sends to the candidate"
        findings.error("CF0130", "a step is at least 0.01 %", place.span, label=label)
    else:
        return CanaryStep(round(share * 100), hold, requests, mirror)
    return None


def judged(gates: tuple[Mapping[str, Any], ...]) -> list[dict[str, dict[str, Any]]]:
    """The gates without what they ask of providers."""
    return [{kind: {k: v for k, v in one.items() if k not in ASKED} for kind, one in gate.items()} for gate in gates]


def _without_sign(name: str, place: Place | None, findings: Findings, least: float = math.inf) -> None:
    """A bare number below `least` may be meant as a percentage or as a part of one: 0.05 as 5 % or as 0.05 %."""
    text = "" if place is None else str(place.value).strip()
    if place is None or not re.fullmatch(r"\d*\.?\d+", text) or not 0 < float(text) < least:
        return
    part = f", or `{float(text) * 100:g}%`" if float(text) < 1 else ""
    findings.error("CF0130", f"`{name}: {text}` has no sign", place.span, label=f"write `{text}%`{part}")


def _tolerant(place: Place | None, findings: Findings) -> None:
    if place is not None and isinstance(place.value, int | float) and place.value < 1:
        label = "1.25 tolerates a quarter more odds of a bad answer than stable's"
        findings.error("CF0130", "`tolerate` is an odds ratio of at least 1", place.span, label=label)


def _without_unit(edges: Place | None, findings: Findings) -> None:
    """A bare number is seconds everywhere else, but of latencies people think in milliseconds: 50 s lets all pass."""
    for one in (edges.items or [edges]) if edges is not None else ():
        if re.fullmatch(r"\d+(\.\d+)?", text := str(one.value).strip()):
            label = f"write `{text}ms`, or `{text}s` for seconds"
            findings.error("CF0130", f"`slower_than: {text}` has no unit", one.span, label=label)


def _gates(place: Place | None, findings: Findings) -> tuple[Mapping[str, Any], ...]:
    if place is None or not isinstance(place.value, list):
        return ()
    found = []
    for item in place.items:
        gate = _gate(item, findings)
        if gate:
            found.append(gate)
    return tuple(found)


def _gate(item: Place, findings: Findings) -> Mapping[str, Any] | None:
    if isinstance(item.value, str) and item.value in GATES:
        return {item.value: {}}
    if not isinstance(item.value, dict) or len(item.value) != 1:
        named = [kind for kind in GATES if isinstance(item.value, dict) and kind in item.value]
        deeper = f"the options of `{named[0]}` stand below it, indented deeper" if named else ""
        findings.error("CF0130", f"a gate is one of {', '.join(GATES)} with its options", item.span, label=deeper)
        return None
    kind, below = next(iter(item.fields.items()))
    if kind not in GATES:
        label = did_you_mean(kind, GATES, otherwise=f"there are {', '.join(GATES)}")
        findings.error("CF0130", f"unknown gate `{kind}`", item.key_span(kind), label=label)
        return None
    if kind == "slo" and not isinstance(below.value, dict):
        _without_sign(kind, below, findings)
    if below.value is None or (kind == "slo" and not isinstance(below.value, dict)):
        return {kind: {"objective": below.value} if kind == "slo" else {}}
    if not isinstance(below.value, dict):
        findings.error("CF0130", f"the options of `{kind}` are a mapping", below.span)
        return None
    check_part(f"gate_{kind}", below, findings)
    if kind == "query" and not {"min", "max"} & below.value.keys():
        findings.error("CF0130", "a `query` without a limit takes every answer for good", item.key_span(kind),
                       label="`min` or `max` says what is a good one")  # fmt: skip
    _tolerant(below.fields.get("tolerate"), findings)
    _without_unit(below.fields.get("slower_than"), findings)
    for name in ("floor", "objective"):
        _without_sign(name, below.fields.get(name), findings)
    counters = [name for name in ("bad", "total") if name in below.fields]
    for name in counters:
        if isinstance(below.fields[name].value, dict):
            check_part("provider", below.fields[name], findings)
    if len(counters) == 1:
        findings.error("CF0130", "`bad` and `total` go together: a share needs both", below.key_span(counters[0]))
    schema: Schema = part_schema(f"gate_{kind}")
    return {kind: schema.examined(below.value, literal=True)[0]}
