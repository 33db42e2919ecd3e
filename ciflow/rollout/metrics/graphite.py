"""Graphite: the newest filled point of a render target over the last `window` seconds.

https://graphite.readthedocs.io/en/latest/render_api.html
"""

from __future__ import annotations

from urllib.parse import urlencode

from ciflow.model import Http, Reply
from ciflow.rollout.metrics.answers import Ask, http, json_of, newest
from ciflow.rollout.thresholds import Sample

WINDOW = 300.0  # seconds


def request(ask: Ask) -> Http:
    window = int(float(ask.options.get("window", WINDOW)))
    asked = {"target": str(ask.options["query"]), "from": f"-{window}s", "until": "now", "format": "json"}
    return http(ask.options, f"/render?{urlencode(asked)}", ask.timeout)


def answer(ask: Ask, reply: Reply) -> Sample:
    """Points are [value, Unix seconds]; the newest ones are often still null."""
    return newest(([(at, value) for value, at in series["datapoints"]] for series in json_of(reply)), ask.now)
