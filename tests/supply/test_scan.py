"""What a scan makes of advisories: merged by their names, passed over for a time, told in formats that others read."""

from __future__ import annotations

import itertools
import json
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from packaging.version import Version

from ciflow.supply import formats, osv, policy, rustsec, sarif, vex
from ciflow.supply.advisory import Advisory, Kind, from_row
from ciflow.supply.contents import from_bill, from_lock
from ciflow.supply.errors import AdvisoryError, LockError, PolicyError, SupplyError
from ciflow.supply.findings import Finding, find
from ciflow.supply.model import Bom, Creation
from ciflow.supply.scan import Report, findings_of, refusals
from ciflow.supply.versions import Range, debian, pep440, semver
from tests.supply import published

LOCK = published.lock(
    {
        ("app", "1.0.0", "."): None,
        ("time", "0.1.45"): None,
        ("chrono", "0.4.19"): None,
    }
).replace('version = "1.0.0"\n', 'version = "1.0.0"\ndependencies = ["chrono"]\n').replace(
    'name = "chrono"\nversion = "0.4.19"\nsource = "' + published.CRATES_IO + '"\n',
    'name = "chrono"\nversion = "0.4.19"\nsource = "' + published.CRATES_IO + '"\ndependencies = ["time"]\n',
)  # fmt: skip
HIGH = "CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:N/A:N"  # 7.5
LOW = "CVSS:3.1/AV:L/AC:H/PR:L/UI:R/S:U/C:N/I:N/A:L"  # 2.2 by FIRST's calculator


def advisory(name: str, package: str = "time", **more: Any) -> Advisory:
    more = {
        "ecosystem": "crates.io",
        "title": "A hole",
        "affected": (Range("", "0.2.23"),),
        "fixed": ("0.2.23",),
    } | more
    return Advisory(id=name, package=package, **more)


def found(*advisories: Advisory, text: str = LOCK) -> tuple[Finding, ...]:
    return find(
        from_lock(text),
        lambda ecosystem, names: [a for a in advisories if a.ecosystem == ecosystem and a.package in names],
    )


def report(findings: Sequence[Finding], *fail_on: str) -> Report:
    subject = {"path": "Cargo.lock", "sha256": "00", "packages": 3, "products": ["pkg:cargo/app@1.0.0"]}
    database = {"path": "/db", "advisories": 2, "newest": "2020-01-01", "fingerprint": "x"}
    return Report(subject, [database], tuple(findings), (), fail_on, 1_700_000_000)


# --- findings -------------------------------------------------------------------------------------------


def test_a_finding_says_what_brings_the_crate_in_and_where_it_stands() -> None:
    (one,) = found(advisory("RUSTSEC-2020-0071", vectors=(HIGH,)))
    assert one.chain == ("app 1.0.0", "chrono 0.4.19", "time 0.1.45")
    assert LOCK.splitlines()[one.line - 1] == 'name = "time"'
    assert (one.severity, one.score, one.fixed) == ("high", 7.5, ("0.2.23",))


def test_two_databases_that_tell_of_one_hole_make_one_finding_with_the_worse_score() -> None:
    (one,) = found(
        advisory("GHSA-wcg3-cvx6-7396", aliases=("CVE-2020-26235",), vectors=(HIGH,)),
        advisory("RUSTSEC-2020-0071", aliases=("CVE-2020-26235",), vectors=(LOW,)),
    )
    assert (one.id, one.ids, one.aliases) == (
        "RUSTSEC-2020-0071", ("RUSTSEC-2020-0071", "GHSA-wcg3-cvx6-7396"), ("CVE-2020-26235",),
    )  # fmt: skip
    assert one.score == 7.5


def test_names_that_only_a_third_advisory_joins_are_one_finding() -> None:
    joined = advisory("A", aliases=("X",)), advisory("B", aliases=("Y",)), advisory("C", aliases=("X", "Y"))
    for order in itertools.permutations(joined):
        (one,) = found(*order)
        assert set(one.ids) == {"A", "B", "C"}


def test_a_severity_is_computed_or_the_databases_own_word_and_never_guessed() -> None:
    severities = {
        one.id: (one.severity, one.score)
        for one in found(
            advisory("V", vectors=("no vector", LOW), rating="critical"),
            advisory("W", rating="medium"),
            advisory("N", vectors=("no vector",)),
        )
    }
    assert severities == {"V": ("low", 2.2), "W": ("medium", None), "N": ("unknown", None)}


def test_a_version_that_nobody_can_compare_is_refused_and_not_passed_over() -> None:
    with pytest.raises(AdvisoryError, match="time banana"):
        found(advisory("A"), text=LOCK.replace("0.1.45", "banana"))


def test_dependencies_in_a_circle_end() -> None:
    circle = LOCK.replace(
        'name = "time"\nversion = "0.1.45"\n', 'name = "time"\nversion = "0.1.45"\ndependencies = ["chrono"]\n'
    )
    (one,) = found(advisory("A"), text=circle)
    assert one.chain[-1] == "time 0.1.45"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (LOCK + published.lock({("time", "0.1.45"): None})[12:], r"Cargo.lock:\d+: time 0.1.45 is there twice"),
        (LOCK[:-20], "not TOML"),
        ('[[package]]\nname = 1\nversion = "1.0.0"\n', "text belongs"),
        ('package = "x"\n', "Cargo.lock"),
        ("a = " + "[" * 100_000, "not TOML"),
    ],
)  # fmt: skip
def test_a_lock_that_is_none_is_refused_with_what_is_wrong(text: str, said: str) -> None:
    with pytest.raises(LockError, match=said):
        from_lock(text)


def test_locks_in_cargos_own_form_mean_what_their_toml_means() -> None:
    """The quick way and the parser agree: a comment at the end makes any lock one that only the parser reads."""
    for text in published.locks().values():
        assert from_lock(text) == from_lock(text + "\n# read by the parser\n")


@pytest.mark.parametrize("form", formats.FORMATS)
def test_a_bill_of_materials_of_any_format_has_the_findings_of_its_crates(
    bom: Bom, creation: Creation, form: str
) -> None:
    names = {
        part.name: part.version
        for part in bom.components
        if part.purl and part.purl.startswith("pkg:cargo/") and "?" not in part.purl
    }
    holes = [advisory(f"A-{name}", name, affected=(Range(),)) for name in names]
    contents = from_bill(formats.emit(bom, creation, form), "bill")
    met = find(contents, lambda _, wanted: [hole for hole in holes if hole.package in wanted])
    assert {(one.package, one.version) for one in met} >= set(names.items())
    assert all(one.chain[0] == f"{bom.subject.name} {bom.subject.version}" for one in met)


def test_other_ecosystems_are_looked_up_under_their_own_names() -> None:
    purls = ("pkg:pypi/Zope.Interface@5.0", "pkg:npm/%40angular/core@1.0.0", "pkg:golang/golang.org/x/net@v0.1.0",
             "pkg:deb/debian/curl@7.74.0-1.3?distro=debian-11", "pkg:generic/x@1",
             "pkg:cargo/a@1.0.0?vcs_url=git%2Bhttps://x")  # fmt: skip
    parts = [{"bom-ref": one, "purl": one, "name": "x", "version": "1", "type": "library"} for one in purls]
    bill = {"bomFormat": "CycloneDX", "specVersion": "1.6", "components": parts,
            "metadata": {"component": {"name": "app", "type": "application", "bom-ref": "app"}}}  # fmt: skip
    found = from_bill(json.dumps(bill).encode(), "bill").parts
    assert {(part.ecosystem, part.name, part.registry) for part in found} == {
        ("PyPI", "zope-interface", ""), ("npm", "@angular/core", ""), ("Go", "golang.org/x/net", ""),
        ("Debian:11", "curl", ""), ("crates.io", "a", None),
    }  # fmt: skip
    one = find(from_bill(json.dumps(bill).encode(), "bill"), lambda ecosystem, names: [
        advisory("A", names[0], ecosystem=ecosystem, affected=(), versions=tuple(part.version for part in found)),
    ])  # fmt: skip
    assert {vex.purl_of(finding).partition("?")[0].lower() for finding in one} == {
        "pkg:pypi/zope-interface@5.0", "pkg:npm/%40angular/core@1.0.0", "pkg:golang/golang.org/x/net@v0.1.0",
        "pkg:deb/debian/curl@7.74.0-1.3",
    }  # fmt: skip


# --- versions and formats of databases --------------------------------------------------------------------


def test_semantic_versions_have_the_order_of_the_specification() -> None:
    """Semantic Versioning 2.0.0, clause 11."""
    ordered = ["1.0.0-alpha", "1.0.0-alpha.1", "1.0.0-alpha.beta", "1.0.0-beta", "1.0.0-beta.2", "1.0.0-beta.11",
               "1.0.0-rc.1", "1.0.0", "2.0.0", "2.1.0", "2.1.1"]  # fmt: skip
    assert sorted(set(ordered), key=semver) == ordered
    assert semver("1.0.0+a") == semver("1.0.0+b")


PYTHON = [
    "1.0.dev456", "1.0a1", "1.0a2.dev456", "1.0a12.dev456", "1.0a12", "1.0b1.dev456", "1.0b2",
    "1.0b2.post345.dev456", "1.0b2.post345", "1.0rc1.dev456", "1.0rc1", "1.0", "1.0+abc.5", "1.0+abc.7",
    "1.0+5", "1.0.post456.dev34", "1.0.post456", "1.1.dev1", "1!0.1", "v1.0-1", "1.0.0", "1.0c3", "1.0-alpha.4",
]  # fmt: skip
DEBIAN = [
    "1.0", "1.0-1", "1.0~rc1-1", "1:0.9", "1.0+dfsg-1", "1.0a", "1.0.1", "1.0-1+deb11u1", "1.0-1~bpo11+1",
    "7.74.0-1.3+deb11u14", "7.74.0-1.3+deb11u2", "2:8.2.2434-3", "0", "1.0-10", "1.00",
]  # fmt: skip


def test_versions_of_python_have_the_order_of_the_packaging_library() -> None:
    for left, right in itertools.product(PYTHON, repeat=2):
        assert (pep440(left) < pep440(right)) is (Version(left) < Version(right)), (left, right)


@pytest.mark.skipif(shutil.which("dpkg") is None, reason="dpkg is not installed")
def test_versions_of_debian_have_the_order_of_dpkg() -> None:
    for left, right in itertools.combinations(DEBIAN, 2):
        theirs = subprocess.run(["dpkg", "--compare-versions", left, "lt", right], check=False).returncode == 0
        assert (debian(left) < debian(right)) is theirs, (left, right)


RECORD = {
    "id": "GHSA-1", "modified": "2024-01-01T00:00:00Z", "summary": "A hole", "aliases": ["CVE-1"],
    "severity": [{"type": "CVSS_V3", "score": HIGH}, {"type": "CVSS_V4", "score": "CVSS:4.0/x"}],
    "database_specific": {"severity": "MODERATE"},
    "affected": [
        {"package": {"ecosystem": "PyPI", "name": "jinja2"}, "versions": ["2.0"],
         "ranges": [{"type": "ECOSYSTEM", "events": [{"introduced": "3.0"}, {"fixed": "3.1.4"}, {"introduced": "0"},
                                                      {"last_affected": "1.9"}]},
                    {"type": "GIT", "repo": "x", "events": [{"introduced": "0"}]}]},
        {"package": {"ecosystem": "Hackage", "name": "x"}, "versions": ["7"],
         "ranges": [{"type": "ECOSYSTEM", "events": [{"introduced": "0"}]}]},
    ],
}  # fmt: skip


def test_an_osv_record_is_evaluated_as_its_schema_says() -> None:
    python, haskell = osv.parse(json.dumps(RECORD), "GHSA-1.json")
    versions = ["0.1", "1.9", "1.9.1", "2.0", "2.0.1", "3.0", "3.1.3", "3.1.4rc1", "3.1.4"]
    assert [v for v in versions if python.concerns(v)] == ["0.1", "1.9", "2.0", "3.0", "3.1.3", "3.1.4rc1"]
    assert (haskell.concerns("7"), haskell.concerns("8")) == (True, False), "no order is known: only what is named"
    assert python.vectors == ("CVSS:4.0/x", HIGH)
    assert from_row(python.row()) == python
    assert osv.parse(json.dumps(RECORD | {"withdrawn": "2024-02-02T00:00:00Z"}), "x") == ()


@pytest.mark.parametrize(
    "text", ["", "[]", "{", '{"id": 1, "affected": 5}', "[" * 100_000, '{"id": "x", "affected": [{"package": 3}]}']
)
def test_a_record_that_can_not_be_read_is_refused_by_name(text: str) -> None:
    with pytest.raises(AdvisoryError, match=r"^GHSA-1\.json"):
        osv.parse(text, "GHSA-1.json")


@pytest.mark.parametrize(
    ("front", "said"),
    [
        ('id = "R"', "lacks or misplaces 'versions'"),
        ('id = "R"\npackage = "p"\n[versions]\npatched = [">= 1, <"]', "no range of versions"),
        ('id = "R"\npackage = "p"\n[versions]\npatched = [">= 1.0", "^1.2"]', "overlap"),
        ('id = "R"\npackage = "p"\n[versions]\npatched = ["> 2.0, < 1.0"]', "empty range"),
        ('id = "R"\npackage = "p"\n[versions]\npatched = ["^1.0, < 1.5"]', "stands alone"),
        ('id = "R"\npackage = "p"\n[versions]\npatched = "1.0"', "list of texts"),
        ('id = "R', "not TOML"),
    ],
)
def test_an_advisory_that_can_not_be_read_is_refused_by_name(front: str, said: str) -> None:
    with pytest.raises(AdvisoryError, match=rf"^crates/p/R\.md: .*{said}"):
        rustsec.parse(f"```toml\n{front}\n```\n\n# Title\n", "crates/p/R.md")


# --- policy ---------------------------------------------------------------------------------------------

TODAY = date(2026, 6, 30)


def judged(entry: dict[str, Any]) -> tuple[str, tuple[str, ...]]:
    """(state, remarks) of a finding under one ignore."""
    (one,), said = policy.judged(found(advisory("RUSTSEC-1", aliases=("CVE-1",))), policy.ignores([entry], "x"), TODAY)
    return one.state, said


@pytest.mark.parametrize(
    ("entry", "state"),
    [
        ({"id": "CVE-1"}, "ignored"),
        ({"id": "RUSTSEC-1", "until": "2026-06-30"}, "ignored"),
        ({"id": "RUSTSEC-1", "until": date(2026, 6, 29)}, "open"),
        ({"id": "RUSTSEC-1", "package": "time"}, "ignored"),
        ({"id": "RUSTSEC-1", "package": "time 0.1.45"}, "ignored"),
        ({"id": "RUSTSEC-1", "package": "time 0.1.44"}, "open"),
        ({"id": "RUSTSEC-1", "justification": "vulnerable_code_not_present"}, "not_affected"),
        ({"id": "RUSTSEC"}, "open"),
    ],
)
def test_an_ignore_covers_its_finding_up_to_and_with_its_day(entry: dict[str, Any], state: str) -> None:
    assert judged(entry | {"reason": "why"})[0] == state


def test_an_ignore_that_is_over_or_needless_is_said() -> None:
    assert "counts again" in judged({"id": "CVE-1", "reason": "why", "until": "2026-01-01"})[1][0]
    assert "the entry can go" in judged({"id": "CVE-2", "reason": "why"})[1][0]


@pytest.mark.parametrize(
    "entry", [{}, {"id": "X"}, {"id": "X", "reason": " "}, {"id": "X", "reason": "y", "untill": "2026-01-01"},
              {"id": "X", "reason": "y", "until": "soon"}, {"id": "X", "reason": "y", "justification": "trust"}, "X"],
)  # fmt: skip
def test_an_ignore_without_a_reason_or_that_can_not_be_read_is_refused(entry: Any) -> None:
    with pytest.raises(PolicyError, match="entry 1 of ignore"):
        policy.ignores([entry], "policy")


@pytest.mark.parametrize(
    ("fail_on", "ids"),
    [
        (("low",), {"L", "H", "?"}),
        (("high",), {"H", "?"}),
        (("critical",), {"?"}),
        (("unsound",), {"U"}),
        (("high", "unsound"), {"H", "?", "U"}),
        (("never",), set()),
        ((), set()),
    ],
)
def test_a_severity_stands_for_all_above_it_and_what_nobody_rated_for_the_highest(
    fail_on: tuple[str, ...], ids: set[str]
) -> None:
    every = found(
        advisory("L", vectors=(LOW,)), advisory("H", vectors=(HIGH,)), advisory("?"), advisory("U", kind=Kind.UNSOUND)
    )
    assert {one.id for one in report(every, *fail_on).failing} == ids


def test_only_what_is_new_fails_a_scan_since_another() -> None:
    before = found(advisory("RUSTSEC-1", aliases=("CVE-1",)))
    after = found(advisory("GHSA-1", aliases=("CVE-1",)), advisory("RUSTSEC-2"), text=LOCK.replace("0.1.45", "0.1.46"))
    marked = policy.since(after, before)
    assert {one.id: one.new for one in marked} == {"GHSA-1": False, "RUSTSEC-2": True}
    assert [one.id for one in replace(report(marked, "low"), new_only=True).failing] == ["RUSTSEC-2"]


def test_a_kept_report_vouches_for_what_it_found_whatever_it_was_told_to_fail_on() -> None:
    kept = report(found(advisory("H", vectors=(HIGH,)), advisory("L", vectors=(LOW,))), "never").data()
    assert refusals(json.loads(json.dumps(kept)), "critical") == ()
    assert refusals(kept, "high") == ("time 0.1.45: H (high) A hole",)
    for damaged in ({}, {"form": "ciflow-scan/1"}, {**kept, "findings": [{"id": 1}]}):
        with pytest.raises(AdvisoryError):
            refusals(damaged, "high")


# --- VEX and SARIF ----------------------------------------------------------------------------------------

TIME = "pkg:cargo/time@0.1.45"


def openvex(**statement: Any) -> str:
    base = {"vulnerability": {"name": "CVE-1"}, "products": [{"@id": TIME}], "status": "not_affected",
            "justification": "vulnerable_code_not_in_execute_path"}  # fmt: skip
    return json.dumps({"@context": "https://openvex.dev/ns/v0.2.0", "@id": "x", "statements": [base | statement]})


@pytest.mark.parametrize(
    ("statement", "state"),
    [
        ({}, "not_affected"),
        ({"vulnerability": "CVE-1"}, "not_affected"),
        ({"vulnerability": {"name": "CVE-2", "aliases": ["RUSTSEC-1"]}}, "not_affected"),
        ({"vulnerability": {"name": "CVE-2"}}, "open"),
        ({"products": [{"@id": "pkg:cargo/time"}]}, "not_affected"),
        ({"products": [{"@id": "pkg:cargo/time@0.1.44"}]}, "open"),
        ({"products": [{"@id": "pkg:npm/time@0.1.45"}]}, "open"),
        ({"products": [{"@id": "pkg:cargo/app@1.0.0", "subcomponents": [{"@id": TIME}]}]}, "not_affected"),
        ({"products": [{"@id": "pkg:cargo/app@1.0.0", "subcomponents": [{"@id": "pkg:cargo/chrono"}]}]}, "open"),
        ({"products": [{"@id": "pkg:cargo/other@1.0.0", "subcomponents": [{"@id": TIME}]}]}, "open"),
        ({"products": [{"@id": "pkg:cargo/app"}]}, "not_affected"),
        ({"products": []}, "open"),
        ({"status": "fixed"}, "fixed"),
        ({"status": "affected"}, "open"),
        ({"status": "under_investigation"}, "open"),
    ],
)
def test_a_vex_statement_covers_its_vulnerability_in_its_product_only(statement: dict[str, Any], state: str) -> None:
    findings = found(advisory("RUSTSEC-1", aliases=("CVE-1",)))
    (one,) = vex.stated(findings, vex.parse(openvex(**statement), "vex.json"), from_lock(LOCK).products)
    assert one.state == state


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", openvex(status="fine"), openvex(justification="trust me"), "[" * 100_000]
)
def test_a_vex_document_that_can_not_be_understood_is_refused(text: str) -> None:
    with pytest.raises(PolicyError, match=r"^vex\.json"):
        vex.parse(text, "vex.json")


def every_state() -> tuple[Finding, ...]:
    base = found(
        *(
            advisory(name, vectors=(HIGH,), aliases=(f"CVE-{name}",), url=f"https://example.org/{name}")
            for name in "ABCD"
        )
    )
    return tuple(
        replace(
            one,
            state=state,
            reason="why",
            justification="vulnerable_code_not_present" if state == "not_affected" else "",
        )
        for one, state in zip(base, ("open", "ignored", "not_affected", "fixed"), strict=True)
    )


def test_openvex_out_says_what_is_known_and_no_more_and_comes_in_again() -> None:
    """OpenVEX 0.2.0: not_affected has a justification or an impact statement, affected an action statement."""
    document = json.loads(vex.openvex(report(every_state()), "me"))
    assert {"@context", "@id", "author", "timestamp", "version", "statements"} <= set(document)
    by_name = {one["vulnerability"]["name"]: one for one in document["statements"]}
    assert {name: one["status"] for name, one in by_name.items()} == {
        "A": "under_investigation", "B": "affected", "C": "not_affected", "D": "fixed",
    }  # fmt: skip
    assert by_name["C"]["justification"] and by_name["B"]["action_statement"]
    again = vex.stated(
        found(*(advisory(name) for name in "ABCD")), vex.parse(json.dumps(document), "x"), ["pkg:cargo/app@1.0.0"]
    )
    assert {one.id: one.state for one in again} == {"A": "open", "B": "open", "C": "not_affected", "D": "fixed"}


def test_cyclonedx_vex_is_valid_and_comes_in_again() -> None:
    text = vex.cyclonedx(report(every_state()), "0.1.0").decode()
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(text) is None
    again = vex.stated(found(*(advisory(name) for name in "ABCD")), vex.parse(text, "x"), ())
    assert {one.id: one.state for one in again} == {"A": "open", "B": "open", "C": "not_affected", "D": "fixed"}
    assert vex.cyclonedx(report(every_state()), "0.1.0").decode() == text


def test_sarif_is_valid_and_what_was_passed_over_is_suppressed() -> None:
    schema = json.loads((Path(__file__).parents[1] / "report" / "schemas" / "sarif-2.1.0.json").read_text())
    document = json.loads(sarif.scanned(replace(report(every_state(), "low"), new_only=True), "0.1.0"))
    jsonschema.Draft7Validator(schema).validate(document)
    results = document["runs"][0]["results"]
    assert [bool(one["suppressions"]) for one in results] == [False, True, True, True]
    place = results[0]["locations"][0]["physicalLocation"]
    assert (place["artifactLocation"]["uri"], LOCK.splitlines()[place["region"]["startLine"] - 1]) == (
        "Cargo.lock",
        'name = "time"',
    )
    assert document["runs"][0]["tool"]["driver"]["rules"][0]["properties"]["security-severity"] == "7.5"


def test_a_report_comes_back_as_it_was() -> None:
    findings = every_state()
    assert findings_of(json.dumps(report(findings).data()), "x") == findings
    with pytest.raises(SupplyError):
        findings_of("[" * 100_000, "x")
