"""What a project says of findings: which it passes over for now and why, and what makes a scan fail."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import date
from typing import Any

from ciflow.dataclass import dataclass
from ciflow.supply.advisory import Kind
from ciflow.supply.errors import PolicyError
from ciflow.supply.findings import SEVERITIES, UNKNOWN, Finding

LEVELS = SEVERITIES[1:]
WARNINGS = tuple(kind.value for kind in Kind if kind is not Kind.VULNERABILITY)
FAIL_ON = (*LEVELS, *WARNINGS, "never")
FILE = ".config/advisories.toml"  # beside the quarantine of tests
# Words of VEX for why something that is inside does no harm (CISA, "VEX status justifications").
JUSTIFICATIONS = (
    "component_not_present",
    "vulnerable_code_not_present",
    "vulnerable_code_not_in_execute_path",
    "vulnerable_code_cannot_be_controlled_by_adversary",
    "inline_mitigations_already_exist",
)
_IGNORE_FIELDS = {"id", "reason", "until", "package", "justification"}


@dataclass(frozen=True)
class Ignore:
    """One finding that is passed over: up to and with the day `until`, everywhere or in one `package`."""

    id: str
    reason: str
    until: date | None = None
    package: str = ""
    justification: str = ""

    def covers(self, finding: Finding) -> bool:
        return self.id in finding.names and self.package in (
            "",
            finding.package,
            f"{finding.package} {finding.version}",
        )


@dataclass(frozen=True)
class Policy:
    """What a project's file says. `fail_on` is empty where it leaves that open."""

    fail_on: tuple[str, ...] = ()
    ignores: tuple[Ignore, ...] = ()


def parse(text: str, place: str) -> Policy:
    """Read a policy file: TOML with `fail_on` and entries `[[ignore]]`. Raises PolicyError."""
    try:
        document = tomllib.loads(text)
    except (ValueError, RecursionError) as e:
        raise PolicyError(f"{place} is not TOML: {e}") from e
    if unknown := sorted(set(document) - {"fail_on", "ignore"}):
        raise PolicyError(f"{place} has no setting {unknown[0]}: there are fail_on and ignore")
    return Policy(levels(document.get("fail_on", []), place), ignores(document.get("ignore", []), place))


def levels(words: Any, place: str) -> tuple[str, ...]:
    """What `fail_on` may say. Raises PolicyError."""
    every = (words,) if isinstance(words, str) else words
    if not isinstance(every, list | tuple) or any(word not in FAIL_ON for word in every):
        raise PolicyError(f"{place}: fail_on is any of {', '.join(FAIL_ON)}")
    return tuple(every)


def ignores(entries: Any, place: str) -> tuple[Ignore, ...]:
    """From data: a list of {id, reason, until, package, justification}.

    Raises:
        PolicyError: naming the entry. An ignore without a reason, or one that nobody can read, ignores nothing.
    """
    if not isinstance(entries, list):
        raise PolicyError(f"{place}: ignore is a list of entries with id, reason, until")
    return tuple(_ignore(entry, f"{place}: entry {number} of ignore") for number, entry in enumerate(entries, 1))


def _ignore(entry: Any, place: str) -> Ignore:
    if not isinstance(entry, Mapping):
        raise PolicyError(f"{place} needs an id and a reason")
    if unknown := sorted(set(map(str, entry)) - _IGNORE_FIELDS):
        raise PolicyError(f"{place} has no field {unknown[0]}: there are {', '.join(sorted(_IGNORE_FIELDS))}")
    for name in ("id", "reason"):
        if not isinstance(entry.get(name), str) or not entry[name].strip():
            raise PolicyError(f"{place} lacks {'an id' if name == 'id' else 'a reason'}")
    justification = entry.get("justification") or ""
    if justification and justification not in JUSTIFICATIONS:
        raise PolicyError(f"{place}: justification is one of {', '.join(JUSTIFICATIONS)}")
    until = entry.get("until")
    package = str(entry.get("package") or "")
    return Ignore(entry["id"], entry["reason"], _day(until, place) if until else None, package, justification)


def _day(value: Any, place: str) -> date:
    if type(value) is date:
        return value
    try:
        return date.fromisoformat(str(value))
    except ValueError as e:
        raise PolicyError(f"{place}: until is a day, such as 2026-12-31") from e


def judged(
    findings: Iterable[Finding], entries: Sequence[Ignore], today: date
) -> tuple[tuple[Finding, ...], tuple[str, ...]]:
    """The findings with what was ignored marked so, and what is to be said of the entries: those that are over, and
    those that nothing needs any more."""
    used: set[Ignore] = set()
    said, after = [], []
    for finding in findings:
        covering = [one for one in entries if one.covers(finding)] if finding.is_open else []
        used.update(one for one in entries if one.covers(finding))
        active = [one for one in covering if one.until is None or today <= one.until]
        if active:
            finding = _passed(finding, active[0])
        elif covering:
            over = covering[0]
            said.append(
                f"{over.id} in {finding.package} was ignored until {over.until} ({over.reason}): it counts again"
            )
        after.append(finding)
    said += [
        f"{one.id} is ignored ({one.reason}) and nothing has it: the entry can go" for one in entries if one not in used
    ]
    return tuple(after), tuple(said)


def _passed(finding: Finding, by: Ignore) -> Finding:
    reason = f"{by.reason} (until {by.until})" if by.until else by.reason
    state = "not_affected" if by.justification else "ignored"
    return replace(finding, state=state, reason=reason, justification=by.justification)


def failing(findings: Iterable[Finding], fail_on: Sequence[str]) -> tuple[Finding, ...]:
    """The open findings that make a scan fail.

    A severity in `fail_on` stands for itself and all above it. What nobody has rated counts as the highest: an
    unknown risk is no small one.
    """
    if "never" in fail_on:
        return ()
    levels = [LEVELS.index(one) for one in fail_on if one in LEVELS]
    return tuple(one for one in findings if one.is_open and _fails(one, fail_on, min(levels, default=None)))


def _fails(finding: Finding, fail_on: Sequence[str], least: int | None) -> bool:
    if finding.kind != Kind.VULNERABILITY.value:
        return finding.kind in fail_on
    if least is None:
        return False
    return finding.severity == UNKNOWN or (finding.severity in LEVELS and LEVELS.index(finding.severity) >= least)


def since(findings: Iterable[Finding], earlier: Iterable[Finding]) -> tuple[Finding, ...]:
    """Marked as new or not: what an earlier scan had open under any of its names, in the same package, is not new."""
    known: dict[str, set[str]] = {}
    for one in earlier:
        if one.is_open:
            known.setdefault(one.package, set()).update((one.id, *one.names))
    return tuple(replace(one, new=not known.get(one.package, set()) & {one.id, *one.names}) for one in findings)
