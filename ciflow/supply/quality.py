"""What a bill of materials should say, rule by rule, and how much of it does.

Profiles: `quality` is what generators are scored by (the checks of sbomqs 2.0 that are about the document, not about
what it lists); `ntia` "The Minimum Elements For a Software Bill of Materials", 2021; `cisa` the 2025 draft of its
successor; `bsi` TR-03183-2 version 2.1.0, clauses 4, 5.1 and 5.2. A rule about components is met in part.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence

from ciflow.dataclass import dataclass
from ciflow.supply import licenses, purls
from ciflow.supply.errors import SupplyError
from ciflow.supply.model import Bom, Completeness, Component, Creation, Party, ReferenceKind

PROFILES = {
    "quality": "Quality (sbomqs 2.0)",
    "ntia": "NTIA minimum elements (2021)",
    "cisa": "CISA minimum elements (2025)",
    "bsi": "BSI TR-03183-2 v2.1.0",
}


@dataclass(frozen=True)
class Facts:
    """A document to be judged: what it lists, and what only its file tells."""

    bom: Bom
    creation: Creation
    form: str
    version: str = ""
    identified: bool = True
    signed: bool = False
    vulnerabilities: bool = False

    def parts(self) -> Sequence[Component]:
        return tuple(self.bom.everything())


@dataclass(frozen=True)
class Rule:
    """`lacking` gives whom a document falls short for: refs, or the word `document`."""

    id: str
    says: str
    profiles: tuple[str, ...]
    lacking: Callable[[Facts], Iterable[str]]
    of_components: bool = True


@dataclass(frozen=True)
class Verdict:
    """`met` of `total` components, or 1 of 1 document; `lacking` are the refs of the others."""

    rule: Rule
    total: int
    lacking: tuple[str, ...]

    @property
    def met(self) -> int:
        return self.total - len(self.lacking)

    @property
    def score(self) -> float:
        """0 to 10, as sbomqs counts."""
        return 10.0 * self.met / self.total if self.total else 10.0


@dataclass(frozen=True)
class Report:
    profile: str
    verdicts: tuple[Verdict, ...]

    @property
    def score(self) -> float:
        """The mean of the rules, 0 to 10."""
        return sum(verdict.score for verdict in self.verdicts) / len(self.verdicts)

    @property
    def passed(self) -> bool:
        return all(not verdict.lacking for verdict in self.verdicts)


def judge(facts: Facts, profile: str) -> Report:
    """Every rule of a profile (one of PROFILES) on a document."""
    verdicts = []
    for rule in RULES:
        if profile in rule.profiles:
            total = len(facts.parts()) if rule.of_components else 1
            verdicts.append(Verdict(rule, total, tuple(rule.lacking(facts))))
    return Report(profile, tuple(verdicts))


def _each(holds: Callable[[Component], object]) -> Callable[[Facts], Iterable[str]]:
    return lambda facts: [part.ref for part in facts.parts() if not holds(part)]


def _whole(holds: Callable[[Facts], object]) -> Callable[[Facts], Iterable[str]]:
    return lambda facts: [] if holds(facts) else ["document"]


def _reachable(party: Party | None) -> bool:
    """BSI: an address of e-mail, or a URL where there is none."""
    return party is not None and bool((party.email and "@" in party.email) or re.match(r"https?://", party.url or ""))


def _named(party: Party | None) -> bool:
    return party is not None and bool(party.name or party.email or party.url)


def _own_file(part: Component) -> bool:
    """Whether a file of its own is handed out: a folder or a commit has none, and BSI asks nothing of its file."""
    return part.file is not None or not _by_commit_or_folder(part)


def _by_commit_or_folder(part: Component) -> bool:
    in_folder = any(key == "cargo:path" for key, _ in part.properties)
    return in_folder or (part.download or "").startswith("git+") or (part.purl or "").startswith("pkg:generic/")


def _hashed(algorithms: Sequence[str]) -> Callable[[Component], bool]:
    """A commit is a hash of what it holds; what comes from a folder of the workspace is the subject's own."""
    return lambda part: not _own_file(part) or any(part.hash(algorithm) for algorithm in algorithms)


def _expression(text: str | None) -> bool:
    return text is not None and licenses.normalise(text) is not None


def _identified(part: Component) -> bool:
    try:
        return part.purl is not None and bool(purls.parse(part.purl).name)
    except SupplyError:
        return False


def _linked(part: Component) -> bool:
    kinds = {reference.kind for reference in part.references}
    return bool(kinds & {ReferenceKind.VCS, ReferenceKind.SOURCE}) or _by_commit_or_folder(part)


def _joined(facts: Facts) -> Iterable[str]:
    """Every component is at one end of a relation: what nothing leads to is listed without a reason."""
    led_to = {relation.target for relation in facts.bom.relations}
    return [part.ref for part in facts.bom.components if part.ref not in led_to]


def _author(facts: Facts) -> bool:
    return any(_named(author) for author in facts.creation.authors)


def _format(facts: Facts) -> bool:
    """BSI clause 4: CycloneDX from 1.6, SPDX from 3.0.1, in JSON or XML."""
    name, _, how = facts.form.partition("-")
    least = {"cyclonedx": (1, 6), "spdx3": (3, 0, 1)}.get(name)
    return how in ("json", "xml", "") and least is not None and _numbers(facts.version) >= least


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d{1,9}", version))


_STRONG = ("SHA-256", "SHA-384", "SHA-512", "SHA3-256", "SHA3-384", "SHA3-512", "BLAKE2b-256", "BLAKE2b-512", "BLAKE3")
_ALL = tuple(PROFILES)
RULES = (
    Rule("timestamp", "the document says when it was made", _ALL,
         _whole(lambda f: f.creation.epoch is not None), False),
    Rule("author", "the document names who answers for it", ("quality", "ntia", "cisa"), _whole(_author), False),
    Rule("author-contact", "who made the document can be reached by e-mail or URL", ("bsi",),
         _whole(lambda f: any(_reachable(author) for author in f.creation.authors)), False),
    Rule("tool", "the document names the tool that made it, with its version", ("quality", "cisa"),
         _whole(lambda f: f.creation.tool and f.creation.tool_version), False),
    Rule("identity", "the document has a serial number or namespace of its own", ("quality", "bsi"),
         _whole(lambda f: f.identified), False),
    Rule("phase", "the document says in which phase of life it was made", ("quality", "cisa"),
         _whole(lambda f: f.bom.phase is not None or f.form.startswith("spdx-")), False),
    Rule("document-supplier", "the document names who supplies what it is about", ("quality",),
         _whole(lambda f: _named(f.creation.supplier) or _named(f.bom.subject.supplier)), False),
    Rule("subject", "the document says what it is about", ("quality", "ntia", "cisa"),
         _whole(lambda f: f.bom.subject.name and f.bom.subject.version), False),
    Rule("complete", "it is said that the list of dependencies is complete", ("quality", "bsi"),
         _whole(lambda f: f.bom.completeness is Completeness.COMPLETE), False),
    Rule("signature", "the document is signed", ("quality",), _whole(lambda f: f.signed), False),
    Rule("format", "CycloneDX from 1.6 or SPDX from 3.0.1, in JSON or XML", ("bsi",), _whole(_format), False),
    Rule("no-vulnerabilities", "no vulnerabilities stand in it (they go into a VEX)", ("bsi",),
         _whole(lambda f: not f.vulnerabilities), False),
    Rule("name", "components have names", _ALL, _each(lambda c: c.name.strip())),
    Rule("version", "components have versions", _ALL, _each(lambda c: c.version and c.version.strip())),
    Rule("identifier", "components have a valid package URL", _ALL, _each(_identified)),
    Rule("supplier", "components name who supplies them", ("quality", "ntia"),
         _each(lambda c: _named(c.supplier) or _named(c.manufacturer))),
    Rule("producer", "components name who made them", ("cisa",), _each(lambda c: _named(c.manufacturer) or c.authors)),
    Rule("producer-contact", "who made a component can be reached by e-mail or URL", ("bsi",),
         _each(lambda c: _reachable(c.manufacturer))),
    Rule("relation", "something leads to each component", _ALL, _joined),
    Rule("hash", "components have a hash of 256 bits or more", ("quality", "cisa"), _each(_hashed(_STRONG))),
    Rule("hash-512", "what is handed out has its SHA-512", ("quality", "bsi"), _each(_hashed(("SHA-512",)))),
    Rule("source", "components say where their source is", ("quality", "bsi"), _each(_linked)),
    Rule("licence", "components have a declared licence", ("quality", "cisa"), _each(lambda c: c.licence)),
    Rule("licence-valid", "declared licences are SPDX expressions", ("quality", "bsi"),
         _each(lambda c: _expression(c.licence))),
    Rule("licence-concluded", "components have a concluded licence, an SPDX expression", ("quality", "bsi"),
         _each(lambda c: _expression(c.concluded))),
    Rule("file", "what is handed out has a file name and says if it is executable, an archive, structured", ("bsi",),
         _each(lambda c: c.file is not None or not _own_file(c))),
)  # fmt: skip
