"""OSV over the network: https://google.github.io/osv.dev/api/. Asked only where a user says so, for it tells OSV which
packages there are."""

from __future__ import annotations

import json
import os
import urllib.error
import urllib.request
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any
from urllib.parse import quote

from ciflow import __version__
from ciflow.dataclass import dataclass
from ciflow.supply import osv
from ciflow.supply.advisory import Advisory
from ciflow.supply.contents import Part
from ciflow.supply.errors import AdvisoryError

_USUAL = "https://api.osv.dev"
_AT_ONCE = 1000  # queries that one request may hold
_PAGES = 100  # of one batch; each has a thousand names
_LARGEST = 64 * 1024 * 1024  # bytes of one answer
_TIMEOUT_S = 30.0


@dataclass(frozen=True)
class Online:
    """What OSV said of some packages, as though it were a database."""

    path: str
    count: int
    newest: str
    advisories: Mapping[tuple[str, str], Sequence[Advisory]]
    fingerprint: str = ""

    def about(self, ecosystem: str, names: Sequence[str]) -> Iterable[Advisory]:
        """All advisories on packages of these names."""
        for name in names:
            yield from self.advisories.get((ecosystem, name), ())


def asked(parts: Iterable[Part]) -> Online:
    """Ask for every package of a registry; $CIFLOW_OSV is another address that speaks the same.

    Raises:
        AdvisoryError: no answer, or one that can't be read. Silence is no good news.
    """
    address = os.environ.get("CIFLOW_OSV", _USUAL).rstrip("/")
    queries = [
        {"package": {"ecosystem": part.ecosystem, "name": part.name}, "version": part.version}
        for part in parts
        if part.registry == ""
    ]
    found: defaultdict[tuple[str, str], list[Advisory]] = defaultdict(list)
    names, newest = sorted(_names(address, queries)), ""
    for name in names:
        url = f"{address}/v1/vulns/{quote(name, safe='')}"
        for advisory in osv.parse(_said(url), url):
            found[advisory.ecosystem, advisory.package].append(advisory)
            newest = max(newest, advisory.date)
    return Online(address, len(names), newest, found)


def _names(address: str, queries: Sequence[Mapping[str, Any]]) -> set[str]:
    """Of the advisories that concern these versions, page by page."""
    found: set[str] = set()
    for at in range(0, len(queries), _AT_ONCE):
        waiting = list(queries[at : at + _AT_ONCE])
        for _ in range(_PAGES):
            results = _results(address, waiting)
            found.update(str(one["id"]) for result in results for one in result.get("vulns") or ())
            waiting = [
                {**query, "page_token": result["next_page_token"]}
                for query, result in zip(waiting, results, strict=True)
                if result.get("next_page_token")
            ]
            if not waiting:
                break
        else:
            raise AdvisoryError(f"{address} has more than {_PAGES} pages for one question")
    return found


def _results(address: str, queries: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    url = f"{address}/v1/querybatch"
    content = _said(url, json.dumps({"queries": queries}).encode())
    try:
        results = json.loads(content)["results"]
        if len(results) != len(queries) or not all(isinstance(one, dict) for one in results):
            raise AdvisoryError(f"{url} answered {len(results)} of {len(queries)} questions")
    except (ValueError, RecursionError, KeyError, TypeError) as e:
        if isinstance(e, AdvisoryError):
            raise
        raise AdvisoryError(f"the answer of {url} can't be read: {e}") from e
    return list(results)


def _said(url: str, data: bytes | None = None) -> bytes:
    headers = {"User-Agent": f"ciflow/{__version__}", "Content-Type": "application/json"}
    try:
        with urllib.request.urlopen(urllib.request.Request(url, data, headers), timeout=_TIMEOUT_S) as answer:
            content: bytes = answer.read(_LARGEST + 1)
    except (OSError, ValueError) as e:
        why = e.reason if isinstance(e, urllib.error.URLError) else e
        raise AdvisoryError(f"OSV can't be asked: {url}: {why}") from e
    if len(content) > _LARGEST:
        raise AdvisoryError(f"the answer of {url} is larger than {_LARGEST >> 20} MiB")
    return content
