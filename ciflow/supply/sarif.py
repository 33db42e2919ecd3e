"""SARIF 2.1.0 (OASIS): the log around results, and the results of a scan for advisories."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any
from urllib.parse import quote

from ciflow.supply.advisory import Kind
from ciflow.supply.findings import Finding
from ciflow.supply.scan import Report

_SCHEMA = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
_LEVELS = {"critical": "error", "high": "error", "unknown": "error", "medium": "warning", "low": "warning"}


def log(version: str, rules: Sequence[Mapping[str, Any]], results: Iterable[Mapping[str, Any]]) -> str:
    """One run of this tool."""
    driver = {"name": "ciflow", "semanticVersion": version, "rules": list(rules)}
    run = {"tool": {"driver": driver}, "columnKind": "unicodeCodePoints", "results": list(results)}
    return json.dumps({"$schema": _SCHEMA, "version": "2.1.0", "runs": [run]}, indent=2) + "\n"


def uri(file: str) -> str:
    """A relative path is a relative reference; an absolute one a file URI (RFC 8089)."""
    path = quote(file.encode("utf-8", "surrogateescape"), safe="/")
    return f"file://{path}" if file.startswith("/") else path


def scanned(report: Report, version: str) -> str:
    """A scan: a rule for each advisory, a result for each finding. What was passed over is a suppressed result."""
    rules = {one.id: _rule(one) for one in report.findings}
    index = {name: number for number, name in enumerate(rules)}
    file = str(report.subject["path"])
    results = [_result(one, index[one.id], file, report.new_only) for one in report.findings]
    return log(version, list(rules.values()), results)


def _rule(finding: Finding) -> dict[str, Any]:
    """`security-severity` is what GitHub sorts by; it takes numbers above 0 only."""
    properties: dict[str, Any] = {"tags": ["security", finding.kind]}
    if finding.score:
        properties["security-severity"] = f"{finding.score:.1f}"
    rule = {
        "id": finding.id,
        "shortDescription": {"text": finding.title},
        "fullDescription": {"text": finding.title},
        "help": {"text": f"{finding.title}. {_remedy(finding)}"},
        "properties": properties,
    }
    return {**rule, "helpUri": finding.url} if finding.url else rule


def _result(finding: Finding, rule: int, file: str, compared: bool) -> dict[str, Any]:
    hole = finding.kind == Kind.VULNERABILITY.value
    chain = f" It comes in by {' -> '.join(finding.chain)}." if len(finding.chain) > 1 else ""
    text = f"{finding.package} {finding.version}: {finding.title}. {_remedy(finding)}{chain}"
    place: dict[str, Any] = {"artifactLocation": {"uri": uri(file)}}
    if finding.line:
        place["region"] = {"startLine": finding.line}
    mark = hashlib.sha256(f"{finding.id}\0{finding.package}\0{finding.version}".encode()).hexdigest()
    result: dict[str, Any] = {
        "ruleId": finding.id,
        "ruleIndex": rule,
        "level": _LEVELS.get(finding.severity, "note") if hole else "note",
        "message": {"text": text},
        "locations": [{"physicalLocation": place}],
        "partialFingerprints": {"ciflowScan/v1": mark},
        "suppressions": [] if finding.is_open else [_suppression(finding)],
    }
    if compared:
        result["baselineState"] = "new" if finding.new else "unchanged"
    return result


def _suppression(finding: Finding) -> dict[str, Any]:
    return {"kind": "external", "status": "accepted", "justification": finding.reason or finding.state}


def _remedy(finding: Finding) -> str:
    if finding.kind == Kind.YANKED.value:
        return "Update it."
    return f"Update to {' or '.join(finding.fixed)}." if finding.fixed else "No fixed version is known."
