"""Each rule of the profiles, on a bill that meets all of them and on the same one with one thing taken away."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from ciflow.supply.model import Bom, Completeness, Component, Creation, Party, Relation
from ciflow.supply.quality import PROFILES, RULES, Facts, judge
from tests.supply.bills import CREATION, full

ALPHA = "pkg:cargo/alpha@1.0.0"


def facts(bom: Bom | None = None, creation: Creation = CREATION, **more: object) -> Facts:
    known = Facts(bom or full(), creation, "cyclonedx-json", "1.7", identified=True, signed=True)
    return replace(known, **more)  # type: ignore[arg-type]


def without(**fields: object) -> Facts:
    """The bill, with these fields of `alpha` replaced."""
    bom = full()
    return facts(replace(bom, components=tuple(_changed(c, fields) for c in bom.components)))


def _changed(component: Component, fields: dict[str, object]) -> Component:
    return replace(component, **fields) if component.name == "alpha" else component  # type: ignore[arg-type]


def _unsupplied() -> Facts:
    return facts(replace(full(), subject=replace(full().subject, supplier=None)), replace(CREATION, supplier=None))


def _unreached() -> Facts:
    bom = full()
    return facts(replace(bom, relations=tuple(r for r in bom.relations if r.target != ALPHA)))


LACKING: dict[str, Callable[[], Facts]] = {
    "timestamp": lambda: facts(creation=replace(CREATION, epoch=None)),
    "author": lambda: facts(creation=replace(CREATION, authors=())),
    "author-contact": lambda: facts(creation=replace(CREATION, authors=(Party("Release Team"),))),
    "tool": lambda: facts(creation=replace(CREATION, tool_version=None)),
    "identity": lambda: facts(identified=False),
    "phase": lambda: facts(replace(full(), phase=None)),
    "document-supplier": _unsupplied,
    "subject": lambda: facts(replace(full(), subject=replace(full().subject, version=None))),
    "complete": lambda: facts(replace(full(), completeness=Completeness.UNKNOWN)),
    "signature": lambda: facts(signed=False),
    "format": lambda: facts(form="spdx-json", version="2.3"),
    "no-vulnerabilities": lambda: facts(vulnerabilities=True),
    "name": lambda: without(name=" "),
    "version": lambda: without(version=None),
    "identifier": lambda: without(purl="cargo/alpha"),
    "supplier": lambda: without(supplier=None, manufacturer=None),
    "producer": lambda: without(manufacturer=None, authors=()),
    "producer-contact": lambda: without(manufacturer=Party("A. Maker")),
    "relation": _unreached,
    "hash": lambda: without(hashes=()),
    "hash-512": lambda: without(hashes=full().components[0].hashes[:1]),
    "source": lambda: without(references=()),
    "licence": lambda: without(licence=None),
    "licence-valid": lambda: without(licence="see COPYING"),
    "licence-concluded": lambda: without(concluded=None),
    "file": lambda: without(file=None),
}


def test_every_rule_is_tried() -> None:
    assert [rule.id for rule in RULES] == list(LACKING)


@pytest.mark.parametrize("profile", PROFILES)
def test_a_bill_that_says_all_of_it_has_full_marks(profile: str) -> None:
    report = judge(facts(), profile)
    assert [(one.rule.id, one.lacking) for one in report.verdicts if one.lacking] == []
    assert report.passed
    assert report.score == 10.0


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.id)
def test_a_rule_sees_what_is_missing_and_where(rule: object) -> None:
    id_ = rule.id  # type: ignore[attr-defined]
    judged = LACKING[id_]()
    for profile in rule.profiles:  # type: ignore[attr-defined]
        lacking = {one.rule.id: one.lacking for one in judge(judged, profile).verdicts}[id_]
        where = ALPHA if rule.of_components else "document"  # type: ignore[attr-defined]
        assert set(lacking) == ({full().subject.ref} if id_ == "subject" and where != "document" else {where})


def test_a_rule_about_components_is_met_in_part() -> None:
    verdict = next(one for one in judge(without(version=None), "ntia").verdicts if one.rule.id == "version")
    assert (verdict.met, verdict.total, round(verdict.score, 2)) == (2, 3, 6.67)


def test_a_commit_counts_as_a_hash_and_a_folder_of_ones_own_needs_none() -> None:
    fetched = {"hashes": (), "file": None, "download": "git+https://git.example/alpha@0123", "references": ()}
    own = {"hashes": (), "file": None, "download": None, "references": (), "properties": (("cargo:path", "alpha"),)}
    for fields in (fetched, own):
        for profile in ("quality", "bsi"):
            lacking = {one.rule.id for one in judge(without(**fields), profile).verdicts if one.lacking}
            assert not lacking & {"hash", "hash-512", "source", "file"}


def test_a_relation_from_a_component_that_is_listed_is_a_reason() -> None:
    bom = full()
    others = tuple(relation for relation in bom.relations if relation.target != ALPHA)
    through = replace(bom, relations=(*others, Relation(bom.components[1].ref, ALPHA)))
    assert judge(facts(through), "ntia").passed
