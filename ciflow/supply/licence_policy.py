"""Which licences a project takes: what its policy says of each crate, and what to do about the rest.

A licence expression (SPDX 2.3 annex D) holds when its alternatives can be chosen so that all that is left is allowed.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import date
from typing import Any

from ciflow.dataclass import dataclass
from ciflow.supply.errors import PolicyError
from ciflow.supply.licenses import normalise

FILE = ".config/licenses.toml"
_SETTINGS = {"allow", "deny", "unknown", "exception", "clarify"}
_EXCEPTION = {"crate", "allow", "reason", "until"}
_CLARIFY = {"crate", "licence", "reason"}
_WORDS = re.compile(r"[()]|[^\s()]+")
# How good a licence is, from worst to best.
DENIED, UNLISTED, ALLOWED = range(3)


@dataclass(frozen=True)
class Exemption:
    """Licences that one crate may have besides: up to and with the day `until`."""

    crate: str
    allow: frozenset[str]
    reason: str
    until: date | None = None


@dataclass(frozen=True)
class Clarification:
    """What a crate's licence is, where its maker didn't say it so that a program understands."""

    crate: str
    licence: str
    reason: str


@dataclass(frozen=True)
class Policy:
    """Without `allow` everything that isn't denied is good. `unknown`: whether a crate without an expression is."""

    allow: frozenset[str] = frozenset()
    deny: frozenset[str] = frozenset()
    unknown: bool = False
    exceptions: tuple[Exemption, ...] = ()
    clarifications: tuple[Clarification, ...] = ()


@dataclass(frozen=True)
class Crate:
    """One crate as its manifest has it. `delivered` is false where it only takes part in the build."""

    name: str
    version: str
    licence: str | None
    source: str | None
    directory: str
    delivered: bool
    chain: tuple[str, ...]
    repository: str = ""

    @property
    def label(self) -> str:
        return f"{self.name} {self.version}"


@dataclass(frozen=True)
class Verdict:
    """What becomes of a crate: `state` is allowed, excepted, denied, unlisted or unknown; `why` names the licences that
    make it so, or the reason of its exception."""

    crate: Crate
    licence: str | None
    state: str
    why: str = ""

    @property
    def good(self) -> bool:
        return self.state in ("allowed", "excepted")

    def data(self) -> dict[str, Any]:
        """As JSON has it."""
        one = self.crate
        return {
            "crate": one.name, "version": one.version, "licence": self.licence, "state": self.state, "why": self.why,
            "delivered": one.delivered, "chain": list(one.chain),
        }  # fmt: skip


# --- reading a policy -----------------------------------------------------------------------------------


def parse(text: str, place: str) -> Policy:
    """Read a policy file: TOML. Raises PolicyError on what it does not know: a word misspelt may let something in."""
    try:
        document = tomllib.loads(text)
    except (ValueError, RecursionError) as e:
        raise PolicyError(f"{place} is not TOML: {e}") from e
    if unknown := sorted(set(document) - _SETTINGS):
        raise PolicyError(f"{place} has no setting {unknown[0]}: there are {', '.join(sorted(_SETTINGS))}")
    if document.get("unknown", "deny") not in ("deny", "allow"):
        raise PolicyError(f"{place}: unknown is deny or allow")
    policy = Policy(
        allow=names(document.get("allow", []), f"{place}: allow"),
        deny=names(document.get("deny", []), f"{place}: deny"),
        unknown=document.get("unknown") == "allow",
        exceptions=tuple(_exception(*one) for one in _entries(document, "exception", _EXCEPTION, place)),
        clarifications=tuple(_clarification(*one) for one in _entries(document, "clarify", _CLARIFY, place)),
    )
    if both := sorted(policy.allow & policy.deny):
        raise PolicyError(f"{place} both allows and denies {both[0]}")
    if not policy.allow and not policy.deny:
        raise PolicyError(f"{place} neither allows nor denies a licence")
    return policy


def names(given: Any, place: str) -> frozenset[str]:
    """Licences of the SPDX list, `LicenseRef-..`, or one `WITH` an exception; each as the list spells it."""
    if not isinstance(given, list | tuple):
        raise PolicyError(f"{place} is a list of licences")
    return frozenset(_name(one, place) for one in given)


def _name(given: Any, place: str) -> str:
    found = normalise(given) if isinstance(given, str) else None
    if found is None or re.search(r"\b(AND|OR)\b|\(", found):
        raise PolicyError(f"{place}: {given!r} is no licence of the SPDX list (https://spdx.org/licenses)")
    return found


def _entries(
    document: Mapping[str, Any], kind: str, fields: set[str], place: str
) -> Iterable[tuple[Mapping[str, Any], str]]:
    entries = document.get(kind, [])
    if not isinstance(entries, list) or not all(isinstance(one, dict) for one in entries):
        raise PolicyError(f"{place}: {kind} is a list of [[{kind}]]")
    for number, entry in enumerate(entries, 1):
        where = f"{place}: [[{kind}]] {number}"
        if wrong := sorted(set(entry) - fields):
            raise PolicyError(f"{where} has no field {wrong[0]}: there are {', '.join(sorted(fields))}")
        for name in ("crate", "reason"):
            if not isinstance(entry.get(name), str) or not entry[name].strip():
                raise PolicyError(f"{where} lacks a {name}")
        yield entry, where


def _exception(entry: Mapping[str, Any], where: str) -> Exemption:
    until = entry.get("until")
    if until is not None and type(until) is not date:
        raise PolicyError(f"{where}: until is a day, such as 2026-12-31")
    return Exemption(entry["crate"], names(entry.get("allow", []), f"{where}: allow"), entry["reason"], until)


def _clarification(entry: Mapping[str, Any], where: str) -> Clarification:
    licence = entry.get("licence")
    found = normalise(licence) if isinstance(licence, str) else None
    if found is None:
        raise PolicyError(f"{where}: licence is an SPDX expression")
    return Clarification(entry["crate"], found, entry["reason"])


# --- judging --------------------------------------------------------------------------------------------


def judged(crates: Iterable[Crate], policy: Policy, today: date) -> tuple[tuple[Verdict, ...], tuple[str, ...]]:
    """A verdict on each crate, and remarks: exceptions that are over, entries that nothing needs."""
    verdicts = [_verdict(one, policy, today) for one in crates]
    labels = {word for verdict in verdicts for word in (verdict.crate.name, verdict.crate.label)}
    entries = [(one.crate, one.reason) for one in policy.exceptions]
    entries += [(one.crate, one.reason) for one in policy.clarifications]
    said = [
        f"the exception for {one.crate} was until {one.until} ({one.reason}): it is over"
        for one in policy.exceptions
        if one.crate in labels and _over(one, today)
    ]
    said += [
        f"{crate} has an entry ({reason}) and is not there: the entry can go"
        for crate, reason in entries
        if crate not in labels
    ]
    return tuple(verdicts), tuple(said)


def _over(one: Exemption, today: date) -> bool:
    return one.until is not None and today > one.until


def _verdict(crate: Crate, policy: Policy, today: date) -> Verdict:
    words = (crate.name, crate.label)
    clear = next((one.licence for one in policy.clarifications if one.crate in words), None)
    expression = clear or (normalise(crate.licence) if crate.licence else None)
    if expression is None:
        wrote = f"its maker wrote {crate.licence!r}, which is no SPDX expression"
        state = "allowed" if policy.unknown else "unknown"
        return Verdict(crate, crate.licence, state, wrote if crate.licence else "its maker says no licence")
    worth, leaves = weigh(expression, lambda leaf: _worth(leaf, policy))
    if worth == ALLOWED or (worth == UNLISTED and not policy.allow):
        return Verdict(crate, expression, "allowed")
    for one in policy.exceptions:
        if one.crate in words and not _over(one, today) and _exempt(expression, one, policy):
            return Verdict(crate, expression, "excepted", one.reason)
    return Verdict(crate, expression, "denied" if worth == DENIED else "unlisted", ", ".join(leaves))


def _exempt(expression: str, by: Exemption, policy: Policy) -> bool:
    return weigh(expression, lambda leaf: ALLOWED if _any(leaf, by.allow) else _worth(leaf, policy))[0] == ALLOWED


def _worth(leaf: str, policy: Policy) -> int:
    if leaf in policy.deny:
        return DENIED
    return ALLOWED if _any(leaf, policy.allow) else UNLISTED


def _any(leaf: str, allowed: frozenset[str]) -> bool:
    """`or later` (and `+`) lets the one who takes it choose, so that the version itself is enough."""
    base = leaf.removesuffix("+").removesuffix("-or-later")
    return leaf in allowed or (base != leaf and not {base, f"{base}-only", f"{base}-or-later"}.isdisjoint(allowed))


def weigh(expression: str, worth: Callable[[str], int]) -> tuple[int, tuple[str, ...]]:
    """(how good the best choice is, the licences that make it no better) of a normalised expression."""
    reader = _Reader(_WORDS.findall(expression), worth)
    return reader.alternatives()


class _Reader:
    """Recursive descent with the precedence of annex D.4: WITH before AND before OR."""

    def __init__(self, words: Sequence[str], worth: Callable[[str], int]) -> None:
        self._words, self._worth, self._at = words, worth, 0

    def _next(self, word: str) -> bool:
        found = self._at < len(self._words) and self._words[self._at] == word
        self._at += found
        return found

    def alternatives(self) -> tuple[int, tuple[str, ...]]:
        every = [self._all()]
        while self._next("OR"):
            every.append(self._all())
        best = max(worth for worth, _ in every)
        return best, () if best == ALLOWED else tuple(dict.fromkeys(leaf for _, leaves in every for leaf in leaves))

    def _all(self) -> tuple[int, tuple[str, ...]]:
        every = [self._one()]
        while self._next("AND"):
            every.append(self._one())
        worst = min(worth for worth, _ in every)
        return worst, tuple(dict.fromkeys(leaf for worth, leaves in every if worth < ALLOWED for leaf in leaves))

    def _one(self) -> tuple[int, tuple[str, ...]]:
        if self._next("("):
            found = self.alternatives()
            self._next(")")
            return found
        leaf = self._words[self._at]
        self._at += 1
        if self._next("WITH"):
            leaf = f"{leaf} WITH {self._words[self._at]}"
            self._at += 1
        worth = self._worth(leaf)
        return worth, () if worth == ALLOWED else (leaf,)
