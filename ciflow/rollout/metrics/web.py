"""Any JSON that an HTTP request gives: a number at a path, and where it says so, from when it is."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any

from ciflow.model import Http, Reply
from ciflow.rollout.metrics.answers import Ask, NoNumber, body_of, http, json_of, number
from ciflow.rollout.thresholds import Sample

STEP = re.compile(r"\.?([^.\[\]]+)|\[(\d+)\]")


def request(ask: Ask) -> Http:
    body = str(ask.options.get("body", "")).encode()
    method = str(ask.options.get("method", "POST" if body else "GET")).upper()
    return http(ask.options, "", ask.timeout, method=method, body=body)


def answer(ask: Ask, reply: Reply) -> Sample:
    """Without `value` the whole body is the number. A list at the path is several series."""
    if not ask.options.get("value"):
        return Sample((number(body_of(reply).decode("utf-8", "replace").strip()),))
    document = json_of(reply)
    found = at(document, str(ask.options["value"]))
    values = found if isinstance(found, list) else [found]
    age = max(0.0, ask.now - moment(at(document, str(ask.options["time"])))) if ask.options.get("time") else 0.0
    return Sample(tuple(number(value) for value in values), age)


def at(document: Any, path: str) -> Any:
    """What stands at `data.points[0].value`. NoNumber says how far the path leads."""
    place = document
    matched = list(STEP.finditer(path))
    if "".join(found.group(0) for found in matched) != path:
        raise NoNumber(f"`{path}` is no path such as data.points[0].value")
    for found in matched:
        key, index = found.groups()
        try:
            place = place[key] if index is None else place[int(index)]
        except (KeyError, IndexError, TypeError):
            raise NoNumber(f"the answer has nothing at `{path[: found.end()]}`") from None
    return place


def moment(value: Any) -> float:
    """Unix seconds of a time in seconds, milliseconds, or ISO 8601."""
    if isinstance(value, str) and not re.fullmatch(r"[\d.]+", value):
        try:
            told = datetime.fromisoformat(value)
        except ValueError:
            raise NoNumber(f"the answer's time is none: {value!r}") from None
        return (told if told.tzinfo else told.replace(tzinfo=UTC)).timestamp()
    seconds = number(value)
    return seconds / 1000 if seconds > 1e11 else seconds
