"""A scan as a document: what was looked at, with which databases, what was found, and whether that is good enough."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ciflow.dataclass import dataclass
from ciflow.supply.advisory import Kind
from ciflow.supply.errors import AdvisoryError
from ciflow.supply.findings import Finding, from_data
from ciflow.supply.policy import failing

FORM = "ciflow-scan/1"


@dataclass(frozen=True)
class Report:
    """`subject` is {path, sha256, packages}, `databases` a list of {path, advisories, newest, fingerprint}; `said` are
    remarks for whoever reads it; `at` is Unix seconds."""

    subject: Mapping[str, Any]
    databases: Sequence[Mapping[str, Any]]
    findings: tuple[Finding, ...]
    said: tuple[str, ...]
    fail_on: tuple[str, ...]
    at: int
    new_only: bool = False

    @property
    def failing(self) -> tuple[Finding, ...]:
        return failing((one for one in self.findings if one.new or not self.new_only), self.fail_on)

    def counts(self) -> dict[str, int]:
        """How many are open by severity (vulnerabilities) and by kind (the others), and how many were passed over."""
        every = Counter(_bin(one) for one in self.findings if one.is_open)
        return {**every, "passed_over": sum(not one.is_open for one in self.findings)}

    def data(self) -> dict[str, Any]:
        """As JSON has it."""
        return {
            "form": FORM,
            "subject": dict(self.subject),
            "databases": [dict(one) for one in self.databases],
            "findings": [one.data() for one in self.findings],
            "counts": self.counts(),
            "failing": len(self.failing),
            "fail_on": list(self.fail_on),
            "new_only": self.new_only,
            "said": list(self.said),
            "at": self.at,
        }

    def sentence(self) -> str:
        """All of it in one line."""
        counts = self.counts()
        passed = counts.pop("passed_over")
        parts = [f"{number} {name}" for name, number in sorted(counts.items())]
        found = ", ".join(parts) or "nothing"
        beside = f", {passed} passed over" if passed else ""
        number = self.subject["packages"]
        return f"{found} in {number} package{'s' * (number != 1)}{beside}"


def _bin(finding: Finding) -> str:
    return finding.severity if finding.kind == Kind.VULNERABILITY.value else finding.kind


def findings_of(document: object, place: str) -> tuple[Finding, ...]:
    """The findings of a report that was kept. Raises AdvisoryError on what is none."""
    try:
        if isinstance(document, str | bytes):
            document = json.loads(document)
        if not isinstance(document, Mapping) or document.get("form") != FORM:
            raise AdvisoryError(f"{place} is no report of `ciflow scan --format json`")
        return tuple(from_data(one) for one in document["findings"])
    except (ValueError, RecursionError) as e:
        why = e if isinstance(e, AdvisoryError) else f"{place} is not JSON: {e}"
        raise AdvisoryError(str(why)) from e
    except (KeyError, TypeError, AttributeError) as e:
        raise AdvisoryError(f"{place} lacks or misplaces {e}") from e


def refusals(document: Mapping[str, Any], level: str) -> tuple[str, ...]:
    """Why a report does not vouch for `no_vulnerabilities: LEVEL`: one sentence each, none when it does.

    The report speaks for itself: what it was told to fail on has no part in it, and neither has what is new in it.

    Raises:
        AdvisoryError: no report.
    """
    found = failing(findings_of(document, "the scan"), (level,))
    return tuple(f"{one.package} {one.version}: {one.id} ({one.severity}) {one.title}" for one in found)


def newest(databases: Iterable[Mapping[str, Any]]) -> str:
    """The day of the newest advisory of all."""
    return max((str(one["newest"]) for one in databases), default="")
