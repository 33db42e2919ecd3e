"""Why something is in, what changed, one document of several, and what can't be right."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ciflow.supply.chains import MOST_CHAINS, explain
from ciflow.supply.differ import What, compare
from ciflow.supply.errors import SupplyError
from ciflow.supply.merge import merge
from ciflow.supply.model import Bom, Component, Dependency, Hash, Kind, Relation, Scope
from ciflow.supply.validity import check
from tests.supply.bills import crate, full


def bom_of(*edges: str) -> Bom:
    """`a>b` are needs, the first name is the subject."""
    pairs = [edge.split(">") for edge in edges]
    names = list(dict.fromkeys(name for pair in pairs for name in pair))
    parts = [Component(name, Kind.LIBRARY, name, "1.0.0", None) for name in names]
    return Bom(parts[0], tuple(parts[1:]), tuple(Relation(first, second) for first, second in pairs))


def chains(bom: Bom, name: str) -> list[str]:
    return [">".join(part.name for part in chain.parts) for one in explain(bom, name) for chain in one.chains]


def test_the_shortest_chain_through_each_that_needs_it_says_why_it_is_in() -> None:
    bom = bom_of("app>a", "a>b", "b>z", "app>c", "c>z", "a>c")
    assert chains(bom, "z") == ["app>c>z", "app>a>b>z"]


def test_circles_end() -> None:
    assert chains(bom_of("app>a", "a>b", "b>a", "b>z"), "z") == ["app>a>b>z"]
    assert chains(bom_of("app>a", "a>b", "b>a"), "a") == ["app>a", "app>a>b>a"]


def test_each_version_has_reasons_of_its_own() -> None:
    bom = bom_of("app>x", "app>y")
    both = tuple(replace(part, name="log", version=version) for part, version in zip(bom.components, "12", strict=True))
    found = explain(replace(bom, components=both), "log")
    assert [one.component.version for one in found] == ["1", "2"]
    assert [one.component.version for one in explain(replace(bom, components=both), "log@2")] == ["2"]


def test_of_many_reasons_ten_are_shown() -> None:
    names = [f"n{number:02}" for number in range(15)]
    bom = bom_of(*(f"app>{name}" for name in names), *(f"{name}>z" for name in names))
    only = explain(bom, "z")[0]
    assert (len(only.chains), only.more) == (MOST_CHAINS, 5)


def test_a_name_that_is_not_in_is_told_with_one_that_is() -> None:
    with pytest.raises(SupplyError, match="sreverr is not in it; there is server"):
        explain(full(), "sreverr")


# Differences


def changed(bom: Bom, old: Component, new: Component | None) -> Bom:
    """`old` replaced by `new`, relations too."""
    parts = tuple(part for part in bom.components if part.ref != old.ref) + ((new,) if new else ())
    ref = {one.ref: one.ref for one in bom.everything()} | {old.ref: new.ref if new else ""}
    edges = [Relation(ref[r.source], ref[r.target], r.kind) for r in bom.relations]
    return replace(bom, components=parts, relations=tuple(e for e in edges if e.source and e.target))


def versioned(name: str, version: str) -> Component:
    part = crate(name)
    ref = str(part.purl).replace("1.0.0", version)
    return replace(part, ref=ref, purl=ref, version=version)


@pytest.mark.parametrize(
    ("version", "what"),
    [
        ("1.0.1", What.UPGRADED),
        ("0.9.9", What.DOWNGRADED),
        ("1.0.0-rc.1", What.DOWNGRADED),
        ("1.10.0", What.UPGRADED),
    ],
)
def test_versions_are_compared_as_semver_does(version: str, what: What) -> None:
    old = full()
    new = changed(old, old.components[0], versioned("alpha", version))
    assert [(c.what, c.name) for c in compare(old, new)] == [(what, "alpha")]
    assert compare(old, old) == []


def test_what_comes_and_goes_is_told() -> None:
    bom = full()
    fewer = changed(bom, bom.components[0], None)
    assert [(c.what, c.name) for c in compare(bom, fewer)] == [(What.REMOVED, "alpha")]
    assert [(c.what, c.name) for c in compare(fewer, bom)] == [(What.ADDED, "alpha")]


def test_a_second_version_is_an_addition_and_no_upgrade() -> None:
    old = full()
    second = versioned("alpha", "2.0.0")
    relation = Relation(old.subject.ref, second.ref)
    new = replace(old, components=(*old.components, second), relations=(*old.relations, relation))
    assert [(c.what, c.new.version if c.new else "") for c in compare(old, new)] == [(What.ADDED, "2.0.0")]


def test_other_contents_under_one_version_are_told_with_both_hashes() -> None:
    old = full()
    other = replace(old.components[0], hashes=(Hash("SHA-256", "0" * 64),))
    only = compare(old, changed(old, old.components[0], other))[0]
    assert (only.what, [field for field, _, _ in only.fields]) == (What.CHANGED, ["hashes"])
    assert "SHA-256 " + "0" * 64 in only.fields[0][2]


def test_a_git_package_at_another_commit_is_one_that_changed() -> None:
    def at(commit: str) -> Component:
        return replace(crate("alpha"), purl=f"pkg:cargo/alpha@1.0.0?vcs_url=git%2Bhttps://git.example/a%40{commit}")

    old = changed(full(), full().components[0], at("0123"))
    assert [c.what for c in compare(old, changed(old, at("0123"), at("4567")))] == [What.CHANGED]


# One of several


def test_a_component_of_two_documents_is_one_of_the_whole() -> None:
    part = crate("alpha")
    bare = replace(full(), components=tuple(replace(c, licence=None, concluded=None) for c in full().components))
    other = Bom(Component("other", Kind.APPLICATION, "other", "1", None), (part,), (Relation("other", part.ref),))
    whole = merge([bare, other], "release", "3")
    assert whole.subject.purl == "pkg:generic/release@3"
    assert [c.name for c in whole.components].count("alpha") == 1
    assert next(c for c in whole.components if c.name == "alpha").licence == part.licence
    tops = {r.target for r in whole.relations if r.source == whole.subject.ref}
    assert tops == {"other", full().subject.ref}


def test_what_one_of_them_delivers_is_delivered() -> None:
    builder = replace(full().components[1], scope=Scope.REQUIRED)
    other = Bom(Component("other", Kind.APPLICATION, "other", "1", None), (builder,), (Relation("other", builder.ref),))
    whole = merge([full(), other], "release", None)
    assert next(c for c in whole.components if c.name == "builder").scope is Scope.REQUIRED


def test_two_hashes_of_one_thing_are_refused() -> None:
    lies = replace(crate("alpha"), hashes=(Hash("SHA-256", "0" * 64),))
    other = Bom(Component("other", Kind.APPLICATION, "other", "1", None), (lies,), (Relation("other", lies.ref),))
    with pytest.raises(SupplyError, match="has two different SHA-256"):
        merge([full(), other], "release", None)


# What can't be right


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"purl": "pkg:cargo"}, "is no package URL"),
        ({"purl": "pkg:cargo/alpha@9"}, "its version is 1.0.0, and its purl says 9"),
        ({"purl": "pkg:cargo/al pha@1.0.0"}, "characters that must be quoted"),
        ({"hashes": (Hash("SHA-256", "ab"),)}, "SHA-256 has 64 hex digits"),
        ({"hashes": (Hash("CRC-32", "ab"),)}, "CRC-32 is no known hash"),
        ({"cpe": "cpe:2.3:q:x"}, "is no CPE 2.3"),
        ({"licence": "Own words"}, "is no SPDX expression"),
        ({"name": ""}, "it has no name"),
    ],
)
def test_what_cannot_be_right_is_found(fields: dict[str, object], message: str) -> None:
    bom = full()
    wrong = tuple(replace(c, **fields) if c.name == "alpha" else c for c in bom.components)  # type: ignore[arg-type]
    assert [message in finding.message for finding in check(replace(bom, components=wrong))] == [True]


def test_a_bill_that_is_right_has_no_findings() -> None:
    assert check(full()) == []


def test_a_component_without_a_reason_and_one_of_itself_are_found() -> None:
    bom = full()
    alpha = bom.components[0].ref
    odd = replace(bom, relations=(*(r for r in bom.relations if r.target != alpha), Relation(alpha, alpha)))
    assert [(one.ref, one.grave) for one in check(odd)] == [(alpha, True)]
    alone = replace(bom, relations=tuple(r for r in bom.relations if r.target != alpha))
    assert [(one.ref, one.grave) for one in check(alone)] == [(alpha, False)]
    assert Dependency.BUILD in {r.kind for r in bom.relations}
