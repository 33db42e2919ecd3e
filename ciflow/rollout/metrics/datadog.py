"""Datadog: the newest point of a query of time series over the last `window` seconds.

https://docs.datadoghq.com/api/latest/metrics/#query-timeseries-points
"""

from __future__ import annotations

from urllib.parse import urlencode

from ciflow.model import Http, Reply
from ciflow.rollout.metrics.answers import Ask, NoNumber, http, json_of, newest
from ciflow.rollout.thresholds import Sample

WINDOW = 300.0  # seconds


def request(ask: Ask) -> Http:
    since = ask.now - float(ask.options.get("window", WINDOW))
    asked = urlencode({"from": int(since), "to": int(ask.now), "query": str(ask.options["query"])})
    keys = {"DD-API-KEY": str(ask.options["api_key"]), "DD-APPLICATION-KEY": str(ask.options["app_key"])}
    where = {**ask.options, "url": ask.options.get("url") or f"https://api.{ask.options.get('site', 'datadoghq.com')}"}
    return http(where, f"/api/v1/query?{asked}", ask.timeout, headers=keys)


def answer(ask: Ask, reply: Reply) -> Sample:
    """Points are [milliseconds, value]; a value may be null."""
    found = json_of(reply)
    if found.get("status") == "error" or found.get("error"):
        raise NoNumber(f"Datadog says: {found.get('error') or found.get('message')}")
    series = found.get("series") or []
    return newest(([(at / 1000, value) for at, value in one["pointlist"]] for one in series), ask.now)
