"""What databases of advisories say of a set of packages: one finding for each package and each hole."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from ciflow.dataclass import dataclass
from ciflow.supply import cvss
from ciflow.supply.advisory import Advisory, Kind
from ciflow.supply.contents import Contents, Part
from ciflow.supply.errors import AdvisoryError

UNKNOWN = "unknown"
SEVERITIES = ("none", "low", "medium", "high", "critical")
_KINDS = tuple(Kind)
_RANKS = {kind.value: number for number, kind in enumerate(Kind)}


@dataclass(frozen=True)
class Finding:
    """One hole (or one warning) in one package.

    `ids` are the advisories that tell of it, `aliases` other names of it. `severity` is computed from `vector`, or
    the database's own word where it has no vector, or `unknown`. `state` is `open`, or what an ignore or a VEX
    statement made of it (`ignored`, `not_affected`, `fixed`), with its `reason`.
    """

    id: str
    ids: tuple[str, ...]
    aliases: tuple[str, ...]
    kind: str
    ecosystem: str
    package: str
    version: str
    ref: str
    title: str
    severity: str = UNKNOWN
    score: float | None = None
    vector: str = ""
    fixed: tuple[str, ...] = ()
    url: str = ""
    only: tuple[str, ...] = ()
    chain: tuple[str, ...] = ()
    line: int = 0
    state: str = "open"
    reason: str = ""
    justification: str = ""
    new: bool = True

    @property
    def names(self) -> frozenset[str]:
        return frozenset((*self.ids, *self.aliases))

    @property
    def is_open(self) -> bool:
        return self.state == "open"

    def data(self) -> dict[str, Any]:
        """As JSON has it."""
        return {key: list(value) if isinstance(value, tuple) else value for key, value in vars(self).items()}


def from_data(data: Mapping[str, Any]) -> Finding:
    """What `data` made, as JSON brings it back. Raises TypeError on anything else."""
    fields: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in data.items()}
    return Finding(**fields)


Lookup = Callable[[str, Sequence[str]], Iterable[Advisory]]


def find(contents: Contents, lookup: Lookup, platforms: Sequence[str] = ()) -> tuple[Finding, ...]:
    """Everything that is said of these packages, vulnerabilities first, the worst first. `platforms` are those that
    count (`os linux`, `arch x86_64`); an advisory for others alone is left out.

    Raises:
        AdvisoryError: a version that can't be compared. To pass it over would be to call it good.
    """
    wanted: defaultdict[str, set[str]] = defaultdict(set)
    for part in contents.parts:
        if part.registry is not None:
            wanted[part.ecosystem].add(part.name)
    said: defaultdict[tuple[str, str], list[Advisory]] = defaultdict(list)
    for ecosystem, names in wanted.items():
        for advisory in lookup(ecosystem, sorted(names)):
            if advisory.runs_on(platforms):
                said[ecosystem, advisory.package].append(advisory)
    found = [
        finding
        for part in contents.parts
        if part.registry is not None
        for finding in _of(part, said.get((part.ecosystem, part.name), ()), contents)
    ]
    return tuple(sorted(found, key=rank))


def of_yanked(contents: Contents, refs: frozenset[str]) -> Iterator[Finding]:
    """A finding for each part whose makers took it back."""
    for part in contents.parts:
        if part.ref in refs:
            yield Finding(
                id="yanked",
                ids=("yanked",),
                aliases=(),
                kind=Kind.YANKED.value,
                ecosystem=part.ecosystem,
                package=part.name,
                version=part.version,
                ref=part.ref,
                title="its makers took this version back",
                chain=contents.chain(part.ref),
                line=part.line,
            )


def rank(finding: Finding) -> tuple[object, ...]:
    """Vulnerabilities before warnings, the worst first; those that nobody rated before the rated ones."""
    score = 11.0 if finding.severity == UNKNOWN else finding.score
    if score is None:
        score = 2.5 * SEVERITIES.index(finding.severity)
    return _RANKS[finding.kind], -score, finding.package, finding.version, finding.id


def _of(part: Part, advisories: Iterable[Advisory], contents: Contents) -> Iterator[Finding]:
    concerning = [one for one in advisories if one.registry == part.registry and _concerns(one, part)]
    for group in _merged(concerning):
        yield _finding(part, group, contents.chain(part.ref))


def _concerns(advisory: Advisory, part: Part) -> bool:
    try:
        return advisory.concerns(part.version)
    except AdvisoryError as e:
        raise AdvisoryError(f"{part.name} {part.version} can't be compared with {advisory.id}: {e}") from e


def _merged(advisories: Iterable[Advisory]) -> Iterable[list[Advisory]]:
    """Advisories that share a name are about one thing; each name leads to its group."""
    groups: dict[str, list[Advisory]] = {}
    for one in advisories:
        names = {one.id, *one.aliases}
        met = {id(groups[name]): groups[name] for name in names if name in groups}
        group = [member for other in met.values() for member in other if member.id != one.id] + [one]
        groups |= dict.fromkeys(names.union(*({m.id, *m.aliases} for m in group)), group)
    return list({id(group): group for group in groups.values()}.values())


def _finding(part: Part, group: Sequence[Advisory], chain: tuple[str, ...]) -> Finding:
    """RustSec's own advisory speaks for a group, for its text is written for Rust; the worst score of any counts."""
    ordered = sorted(group, key=lambda one: (not one.id.startswith("RUSTSEC-"), one.id))
    first, ids = ordered[0], tuple(one.id for one in ordered)
    severity, score, vector = max((_severity(one) for one in ordered), key=lambda one: _weight(*one[:2]))
    return Finding(
        id=first.id,
        ids=ids,
        aliases=tuple(sorted({alias for one in ordered for alias in one.aliases} - set(ids))),
        kind=min((one.kind for one in ordered), key=_KINDS.index).value,
        ecosystem=part.ecosystem,
        package=part.name,
        version=part.version,
        ref=part.ref,
        title=first.title,
        severity=severity,
        score=score,
        vector=vector,
        fixed=next((fixes for one in ordered if (fixes := one.fixes(part.version))), ()),
        url=first.url,
        only=first.only,
        chain=chain,
        line=part.line,
    )


def _severity(advisory: Advisory) -> tuple[str, float | None, str]:
    """(severity, score, vector) by its newest vector that can be read; one that can't is not guessed at."""
    for vector in advisory.vectors:
        try:
            found = cvss.score(vector)
        except AdvisoryError:
            continue
        return found.severity, found.value, vector
    return advisory.rating or UNKNOWN, None, ""


def _weight(severity: str, score: float | None) -> tuple[float, int]:
    """A score before a word, a word before nothing."""
    if score is not None:
        return score, 2
    return (2.5 * SEVERITIES.index(severity), 1) if severity in SEVERITIES else (-1.0, 0)
