"""Prometheus and what speaks its language (Thanos, Mimir, VictoriaMetrics): one instant query.

https://prometheus.io/docs/prometheus/latest/querying/api/#instant-queries
"""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

from ciflow.encoding import loads
from ciflow.model import Http, Reply
from ciflow.rollout.metrics.answers import SHOWN, Ask, NoNumber, http, json_of, number
from ciflow.rollout.thresholds import Sample

ONE = r'"result":\s*\[(?:\{"metric":\s*\{[^{}]*\},\s*"value":\s*\[)?[\d.e+]+,\s*"([^"]+)"\](?=\}[\]}])'
"""The number of an answer that is one: of the only series of a vector, or a scalar's."""


def request(ask: Ask) -> Http:
    """The server judges at its own time: its clock, not ours, is that of its samples."""
    asked = {"query": str(ask.options["query"]), "timeout": f"{ask.timeout:g}s"}
    return http(ask.options, f"/api/v1/query?{urlencode(asked)}", ask.timeout)


def answer(_ask: Ask, reply: Reply) -> Sample:
    """Every series of a vector, or the scalar. Prometheus leaves out series without a sample in its look-back."""
    if reply.ok and reply.data.get("status") in (400, 422, 503):
        raise NoNumber(_error(reply))
    found = json_of(reply)
    data = found.get("data") or {}
    result: Any = data.get("result")
    if data.get("resultType") == "scalar":
        return Sample((number(result[1]),))
    if data.get("resultType") != "vector":
        raise NoNumber(f"the query gives a {data.get('resultType')}, not a number: use a function such as sum or rate")
    return Sample(tuple(number(series["value"][1]) for series in result))


def _error(reply: Reply) -> str:
    try:
        said = loads(reply.stdout)
        return f"{said['errorType']}: {said['error']}"[:SHOWN]
    except (ValueError, KeyError, TypeError):
        return f"HTTP {reply.data.get('status')}"
