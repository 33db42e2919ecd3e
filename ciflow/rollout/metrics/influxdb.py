"""InfluxDB: Flux to version 2 (`org`), InfluxQL to version 1 or its compatible endpoint (`database`).

https://docs.influxdata.com/influxdb/v2/api/v2/#operation/PostQuery
https://docs.influxdata.com/influxdb/v1/tools/api/#query-http-endpoint
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import urlencode

from ciflow.model import Http, Reply
from ciflow.rollout.metrics.answers import Ask, NoNumber, body_of, http, json_of, newest
from ciflow.rollout.metrics.web import moment
from ciflow.rollout.thresholds import Sample

Points = list[tuple[Any, Any]]


def request(ask: Ask) -> Http:
    headers = {"Authorization": f"Token {ask.options['token']}"} if ask.options.get("token") else {}
    if ask.options.get("database"):
        asked = urlencode({"db": ask.options["database"], "q": ask.options["query"], "epoch": "s"})
        return http(ask.options, f"/query?{asked}", ask.timeout, headers=headers)
    headers |= {"Accept": "application/csv", "Content-Type": "application/vnd.flux"}
    path = f"/api/v2/query?{urlencode({'org': ask.options['org']})}"
    return http(ask.options, path, ask.timeout, method="POST", headers=headers, body=str(ask.options["query"]).encode())


def answer(ask: Ask, reply: Reply) -> Sample:
    """The newest value of each series (InfluxQL), or of each table (Flux)."""
    if ask.options.get("database"):
        return newest(_influxql(json_of(reply)), ask.now)
    return newest(_flux(body_of(reply).decode("utf-8", "replace"), ask.now), ask.now)


def _influxql(found: Mapping[str, Any]) -> Iterator[Points]:
    for result in found.get("results") or []:
        if "error" in result:
            raise NoNumber(f"InfluxDB says: {result['error']}")
        for series in result.get("series") or []:
            for column in range(1, len(series["columns"])):
                yield [(row[0], row[column]) for row in series["values"]]


def _flux(text: str, now: float) -> list[Points]:
    """Annotated CSV: blocks parted by an empty line, a table by its number; `_time` may be missing after `last()`."""
    tables: dict[tuple[int, str], Points] = {}
    for number, block in enumerate(text.replace("\r\n", "\n").split("\n\n")):
        rows = [line for line in block.split("\n") if line and not line.startswith("#")]
        for row in csv.DictReader(io.StringIO("\n".join(rows))):
            if "error" in row:
                raise NoNumber(f"InfluxDB says: {row['error']}")
            at = moment(row["_time"]) if row.get("_time") else now
            tables.setdefault((number, str(row.get("table"))), []).append((at, row.get("_value") or None))
    return list(tables.values())
