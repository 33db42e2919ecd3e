"""Advisories in the Open Source Vulnerability format: https://ossf.github.io/osv-schema/ (1.7)."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from ciflow.supply.advisory import Advisory, Kind
from ciflow.supply.errors import AdvisoryError
from ciflow.supply.versions import SCHEMES, Key, Range, order

_KINDS = {"unsound": Kind.UNSOUND, "unmaintained": Kind.UNMAINTAINED, "notice": Kind.NOTICE}
_RATINGS = {"low": "low", "moderate": "medium", "medium": "medium", "high": "high", "critical": "critical"}
_NEWEST = ("CVSS_V4", "CVSS_V3", "CVSS_V2")


def parse(text: str | bytes, file: str) -> tuple[Advisory, ...]:
    """One record: an advisory for each package that it concerns; none when it was withdrawn.

    Raises:
        AdvisoryError: naming the file, where it is no record.
    """
    try:
        record = json.loads(text)
        return () if record.get("withdrawn") else tuple(_advisories(record))
    except (ValueError, RecursionError) as e:
        why = e if isinstance(e, AdvisoryError) else f"is not JSON: {e}"
        raise AdvisoryError(f"{file}: {why}") from e
    except (KeyError, TypeError, AttributeError) as e:
        raise AdvisoryError(f"{file}: lacks or misplaces {e}") from e


def _advisories(record: Mapping[str, Any]) -> Iterator[Advisory]:
    name = str(record["id"])
    title = str(record.get("summary") or record.get("details") or name).strip().partition("\n")[0][:200]
    for affected in record.get("affected") or ():
        package = affected.get("package")
        if package is None:
            continue
        ecosystem = str(package["ecosystem"])
        ranges = tuple(_ranges(affected, ecosystem))
        said = {**record.get("database_specific", {}), **affected.get("database_specific", {})}
        yield Advisory(
            id=name,
            ecosystem=ecosystem,
            package=str(package["name"]),
            title=title,
            kind=_KINDS.get(said.get("informational") or "", Kind.VULNERABILITY),
            aliases=tuple(record.get("aliases") or ()),
            affected=ranges,
            versions=tuple(affected.get("versions") or ()),
            fixed=tuple(dict.fromkeys(one.fixed for one in ranges if one.fixed)),
            vectors=_vectors(affected) or _vectors(record),
            rating=_RATINGS.get(str(said.get("severity") or "").lower(), ""),
            url=f"https://osv.dev/vulnerability/{name}",
            date=str(record.get("published") or record.get("modified") or "")[:10],
        )


def _vectors(holder: Mapping[str, Any]) -> tuple[str, ...]:
    """The newest version of CVSS first."""
    by_type = {str(one["type"]): str(one["score"]) for one in holder.get("severity") or ()}
    return tuple(by_type[kind] for kind in _NEWEST if kind in by_type)


def _ranges(affected: Mapping[str, Any], ecosystem: str) -> Iterator[Range]:
    """Ranges of versions; those of commits say nothing about a release. Where the order is not known, what is
    affected is in `versions`."""
    if ecosystem.partition(":")[0] not in SCHEMES:
        return
    for one in affected.get("ranges") or ():
        if one["type"] != "GIT":
            yield from _intervals(one["events"], order(ecosystem))


def _intervals(events: list[Mapping[str, str]], key: Callable[[str], Key]) -> Iterator[Range]:
    """The schema's evaluation: events in the order of their versions, "0" before all."""
    flat = [(kind, version) for event in events for kind, version in event.items() if kind != "limit"]
    flat.sort(key=lambda one: (one[1] != "0", key(one[1]), one[0] != "introduced"))
    begun: str | None = None
    for kind, version in flat:
        if kind == "introduced":
            begun = ("" if version == "0" else version) if begun is None else begun
        elif begun is not None:
            yield Range(begun, fixed=version) if kind == "fixed" else Range(begun, last=version)
            begun = None
    if begun is not None:
        yield Range(begun)
