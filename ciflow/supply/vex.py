"""VEX: what is said of vulnerabilities in a product. OpenVEX 0.2.0 and CycloneDX 1.6, in and out.

What a scan alone has found is `under_investigation`: that a version lies in a range is no analysis. An ignore with a
justification says `not_affected`; one without says `affected`, with the reason as what is done about it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from urllib.parse import unquote

from ciflow.dataclass import dataclass
from ciflow.supply import purls
from ciflow.supply.canonical import named
from ciflow.supply.errors import PolicyError, SupplyError
from ciflow.supply.findings import UNKNOWN, Finding
from ciflow.supply.policy import JUSTIFICATIONS
from ciflow.supply.scan import Report

_LARGEST = 16 * 1024 * 1024
_TYPES = {"crates.io": "cargo", "npm": "npm", "PyPI": "pypi", "Go": "golang"}
_STATES = {
    "not_affected": "not_affected",
    "false_positive": "not_affected",
    "fixed": "fixed",
    "resolved": "fixed",
    "resolved_with_pedigree": "fixed",
    **dict.fromkeys(("affected", "under_investigation", "exploitable", "in_triage"), "open"),
}
_FROM_CYCLONEDX = {
    "code_not_present": "vulnerable_code_not_present",
    "code_not_reachable": "vulnerable_code_not_in_execute_path",
    "requires_configuration": "vulnerable_code_cannot_be_controlled_by_adversary",
    "requires_dependency": "component_not_present",
    "requires_environment": "vulnerable_code_cannot_be_controlled_by_adversary",
    **dict.fromkeys(
        ("protected_by_compiler", "protected_at_runtime", "protected_at_perimeter", "protected_by_mitigating_control"),
        "inline_mitigations_already_exist",
    ),
}
_TO_CYCLONEDX = {
    "component_not_present": "requires_dependency",
    "vulnerable_code_not_present": "code_not_present",
    "vulnerable_code_not_in_execute_path": "code_not_reachable",
    "vulnerable_code_cannot_be_controlled_by_adversary": "requires_configuration",
    "inline_mitigations_already_exist": "protected_by_mitigating_control",
}


@dataclass(frozen=True)
class Statement:
    """`about` are (product, parts): refs or purls; without parts it is about all that the product holds."""

    names: frozenset[str]
    about: tuple[tuple[str, tuple[str, ...]], ...]
    state: str
    reason: str = ""
    justification: str = ""

    def covers(self, finding: Finding, products: Sequence[str]) -> bool:
        return bool(self.names & finding.names) and any(
            _names(product, finding)
            or (_any_same(product, products) and (not parts or any(_names(p, finding) for p in parts)))
            for product, parts in self.about
        )


def _names(ref: str, finding: Finding) -> bool:
    return ref == finding.ref or _same(ref, purl_of(finding))


def _any_same(ref: str, products: Sequence[str]) -> bool:
    """A product is another when its purl names another; where a scan can't say what it looked at, none is its own."""
    return any(ref == one or _same(ref, one) for one in products)


def _same(ref: str, other: str) -> bool:
    """Whether a purl is about what another names exactly: one without a version is about all versions."""
    try:
        left, right = purls.parse(ref), purls.parse(other)
    except SupplyError:
        return False
    alike = (left.kind, left.namespace, left.name) == (right.kind, right.namespace, right.name)
    return alike and left.version in (None, right.version)


def purl_of(finding: Finding) -> str:
    """The package URL of what a finding is in."""
    kind, _, release = finding.ecosystem.partition(":")
    namespace, _, name = finding.package.rpartition("/")
    if kind == "Debian":
        distro = [("distro", f"debian-{release}" if release else "")]
        return purls.purl("deb", name, finding.version, distro, "debian")
    return purls.purl(_TYPES[kind], name, finding.version, (), namespace)


# --- in -------------------------------------------------------------------------------------------------


def parse(text: str, place: str) -> tuple[Statement, ...]:
    """Read an OpenVEX or a CycloneDX document.

    Raises:
        PolicyError: neither, or a statement in it that can't be understood.
    """
    if len(text) > _LARGEST:
        raise PolicyError(f"{place} is larger than {_LARGEST >> 20} MiB")
    try:
        document = json.loads(text)
        if str(document.get("@context", "")).startswith("https://openvex.dev/ns"):
            return tuple(_openvex(one) for one in document["statements"])
        if document.get("bomFormat") == "CycloneDX":
            return tuple(_cyclonedx(one) for one in document.get("vulnerabilities", ()))
    except (ValueError, RecursionError) as e:
        raise PolicyError(f"{place} is not JSON: {e}") from e
    except (KeyError, TypeError, AttributeError) as e:
        raise PolicyError(f"{place} lacks, misplaces or misspells {e}") from e
    raise PolicyError(f"{place} is no VEX document: neither OpenVEX nor CycloneDX")


def _openvex(raw: Mapping[str, Any]) -> Statement:
    named = raw["vulnerability"]
    names = {named} if isinstance(named, str) else {str(named["name"]), *map(str, named.get("aliases", ()))}
    products: list[Mapping[str, Any]] = [
        {"@id": one} if isinstance(one, str) else one for one in raw.get("products", ())
    ]
    about = tuple(
        (str(one["@id"]), tuple(str(part["@id"]) for part in one.get("subcomponents", ()))) for one in products
    )
    reason = raw.get("impact_statement") or raw.get("status_notes") or raw.get("action_statement") or ""
    justification = str(raw.get("justification", ""))
    if justification and justification not in JUSTIFICATIONS:
        raise KeyError(justification)
    return Statement(frozenset(names), about, _STATES[raw["status"]], str(reason), justification)


def _cyclonedx(raw: Mapping[str, Any]) -> Statement:
    analysis = raw.get("analysis", {})
    names = {str(raw["id"]), *(str(one["id"]) for one in raw.get("references", ()))}
    about = tuple((_local(str(one["ref"])), ()) for one in raw.get("affects", ()))
    justification = analysis.get("justification")
    return Statement(
        frozenset(names),
        about,
        _STATES[analysis.get("state", "in_triage")],
        str(analysis.get("detail", "")),
        _FROM_CYCLONEDX[justification] if justification else "",
    )


def _local(ref: str) -> str:
    """Of a BOM-Link (`urn:cdx:serial/version#ref`) what it names within its document."""
    return unquote(ref.partition("#")[2]) if ref.startswith("urn:cdx:") else ref


def stated(
    findings: Iterable[Finding], statements: Sequence[Statement], products: Sequence[str]
) -> tuple[Finding, ...]:
    """The findings as VEX documents leave them: of several statements on one the last counts."""
    return tuple(_stated(one, [s for s in statements if s.covers(one, products)]) for one in findings)


def _stated(finding: Finding, statements: Sequence[Statement]) -> Finding:
    if not statements or not finding.is_open:
        return finding
    last = statements[-1]
    return replace(finding, state=last.state, reason=last.reason, justification=last.justification)


# --- out ------------------------------------------------------------------------------------------------


def openvex(report: Report, author: str) -> bytes:
    """An OpenVEX 0.2.0 document: a statement for each finding."""
    document = {
        "@context": "https://openvex.dev/ns/v0.2.0",
        "author": author,
        "timestamp": _when(report.at),
        "version": 1,
        "statements": [_said(one, report) for one in report.findings],
    }
    return named(document, "@id", "urn:uuid:")


def _said(finding: Finding, report: Report) -> dict[str, Any]:
    part = {"@id": purl_of(finding)}
    products = [{"@id": one, "subcomponents": [part]} for one in report.subject.get("products", ())] or [part]
    names = sorted(finding.names - {finding.id})
    statement: dict[str, Any] = {
        "vulnerability": {"name": finding.id, **({"aliases": names} if names else {})},
        "products": products,
    }
    match finding.state:
        case "not_affected":
            justified = {"justification": finding.justification} if finding.justification else {}
            return {
                **statement,
                "status": "not_affected",
                **justified,
                "impact_statement": finding.reason or finding.title,
            }
        case "fixed":
            return {**statement, "status": "fixed"}
        case "ignored":
            return {**statement, "status": "affected", "action_statement": finding.reason}
    return {**statement, "status": "under_investigation", "status_notes": finding.title}


def cyclonedx(report: Report, tool_version: str) -> bytes:
    """A CycloneDX 1.6 document of vulnerabilities, apart from the bill (BSI TR-03183-2 wants it so)."""
    parts = {purl_of(one): one for one in report.findings}
    document = {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {
            "timestamp": _when(report.at),
            "tools": {"components": [{"type": "application", "name": "ciflow", "version": tool_version}]},
        },
        "components": [
            {"type": "library", "bom-ref": ref, "purl": ref, "name": one.package, "version": one.version}
            for ref, one in sorted(parts.items())
        ],
        "vulnerabilities": [_vulnerability(one) for one in report.findings],
    }
    return named(document, "serialNumber", "urn:uuid:")


def _vulnerability(finding: Finding) -> dict[str, Any]:
    found: dict[str, Any] = {
        "bom-ref": f"{finding.id} {purl_of(finding)}",
        "id": finding.id,
        "source": {"url": finding.url} if finding.url else {},
        "references": [
            {"id": one, "source": {"url": f"https://osv.dev/vulnerability/{one}"}}
            for one in sorted(finding.names - {finding.id})
        ],
        "ratings": list(_ratings(finding)),
        "description": finding.title,
        "recommendation": f"update to {finding.fixed[0]}" if finding.fixed else "",
        "analysis": _analysis(finding),
        "affects": [{"ref": purl_of(finding)}],
        "properties": [{"name": "ciflow:kind", "value": finding.kind}],
    }
    return {key: value for key, value in found.items() if value}


def _ratings(finding: Finding) -> Iterator[dict[str, Any]]:
    if finding.vector:
        method = {"CVSS:3.0": "CVSSv3", "CVSS:3.1": "CVSSv31", "CVSS:4.0": "CVSSv4"}.get(finding.vector[:8], "CVSSv2")
        yield {"score": finding.score, "severity": finding.severity, "method": method, "vector": finding.vector}
    elif finding.severity != UNKNOWN:
        yield {"severity": finding.severity}


def _analysis(finding: Finding) -> dict[str, Any]:
    state = {"not_affected": "not_affected", "fixed": "resolved", "ignored": "exploitable"}.get(
        finding.state, "in_triage"
    )
    found = {"state": state, "detail": finding.reason}
    if finding.justification:
        found["justification"] = _TO_CYCLONEDX[finding.justification]
    if finding.state == "ignored":
        return {**found, "response": ["will_not_fix"]}
    return {key: value for key, value in found.items() if value}


def _when(at: int) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
