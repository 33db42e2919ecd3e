"""The same locks and the same database through cargo-audit and through ciflow."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from ciflow.modules.files.advisories import opened
from ciflow.supply.contents import from_lock
from ciflow.supply.findings import find
from tests.parts.process import find as program
from tests.supply import published
from tests.supply.published import CRATES_IO

Found = set[tuple[str, str, str, str]]


@pytest.fixture(scope="module")
def cargo_audit() -> str:
    return program("cargo-audit", "cargo-audit")


def theirs(cargo_audit: str, database: Path, text: str, folder: Path, *more: str) -> Found:
    argv = [cargo_audit, "audit", "--json", "--no-fetch", "--no-yanked", "--db", str(database), "--file", "-", *more]
    done = subprocess.run(argv, input=text, capture_output=True, text=True, cwd=folder, timeout=60)
    assert done.stdout, done.stderr
    report, _ = json.JSONDecoder().raw_decode(done.stdout)  # a second one follows where cargo-audit itself has a hole
    return set(published.pairs(report))


def ours(database: Path, text: str, cache: Path, *platforms: str) -> Found:
    index = opened(database, cache)
    found: Iterator[tuple[str, str, str, str]] = (
        (one.kind, name, one.package, one.version)
        for one in find(from_lock(text), index.about, platforms)
        for name in one.ids
    )
    return set(found)


def test_every_finding_over_more_than_fifty_published_locks_is_cargo_audits(cargo_audit: str, tmp_path: Path) -> None:
    locks = published.locks()
    assert len(locks) >= 50
    database = published.database(tmp_path / "advisory-db", seed=20)
    wrong, total = {}, 0
    for crate, text in locks.items():
        expected = theirs(cargo_audit, database, text, tmp_path)
        total += len(expected)
        if difference := expected ^ ours(database, text, tmp_path / "cache"):
            wrong[crate] = difference
    assert not wrong
    assert total > 500


ADVISORY = """```toml
[advisory]
id = "RUSTSEC-2020-0001"
package = "time"
date = "2020-11-18"
{more}
[versions]
patched = [">= 0.2.23"]
```

# A hole

Text.
"""


def both(cargo_audit: str, folder: Path, source: str, version: str = "0.1.0", more: str = "") -> tuple[Found, Found]:
    place = folder / "db" / "crates" / "time"
    place.mkdir(parents=True)
    (place / "RUSTSEC-2020-0001.md").write_text(ADVISORY.format(more=more))
    text = published.lock({("time", version, source): None})
    return theirs(cargo_audit, folder / "db", text, folder), ours(folder / "db", text, folder / "cache")


@pytest.mark.parametrize("version", ["0.2.23-alpha.1", "0.2.22", "0.2.23", "0.2.23+build.7", "0.2.24-rc.1", "1.0.0"])
def test_versions_at_the_bound_are_judged_as_cargo_audit_does(cargo_audit: str, tmp_path: Path, version: str) -> None:
    expected, found = both(cargo_audit, tmp_path, CRATES_IO, version)
    assert found == expected
    assert bool(found) is version.startswith(("0.2.23-", "0.2.22")), "a pre-release of the fix is no fix"


@pytest.mark.parametrize(
    "source",
    [
        "git+https://example.org/time#0123456789abcdef0123456789abcdef01234567",
        "registry+https://crates.example.org/index",
    ],
)
def test_a_crate_of_the_same_name_from_elsewhere_is_another_crate(
    cargo_audit: str, tmp_path: Path, source: str
) -> None:
    assert both(cargo_audit, tmp_path, source) == (set(), set())


def test_a_crate_of_ones_own_is_not_the_one_on_crates_io(cargo_audit: str, tmp_path: Path) -> None:
    assert both(cargo_audit, tmp_path, ".") == (set(), set())


def test_an_advisory_on_another_registry_is_about_its_crates_where_cargo_audit_knows_crates_io_only(
    cargo_audit: str, tmp_path: Path
) -> None:
    """The difference is meant: a company's own database names its own registry as `source`."""
    elsewhere = "registry+https://crates.example.org/index"
    expected, found = both(cargo_audit, tmp_path, elsewhere, more=f'source = "{elsewhere}"\n')
    assert (expected, len(found)) == (set(), 1)


def test_crates_io_is_the_same_by_its_sparse_index_where_cargo_audit_sees_another(
    cargo_audit: str, tmp_path: Path
) -> None:
    """The difference is meant: RFC 2789 gives the same registry a second address."""
    expected, found = both(cargo_audit, tmp_path, "sparse+https://index.crates.io/")
    assert (expected, len(found)) == (set(), 1)


@pytest.mark.parametrize(("system", "processor"), [("linux", "x86_64"), ("windows", "x86_64"), ("windows", "x86")])
def test_what_counts_on_other_platforms_is_left_out_as_cargo_audit_does(
    cargo_audit: str, tmp_path: Path, system: str, processor: str
) -> None:
    place = tmp_path / "db" / "crates" / "time"
    place.mkdir(parents=True)
    for number, only in enumerate(('os = ["windows"]', 'arch = ["x86"]', 'os = ["windows", "linux"]', ""), 1):
        text = (
            ADVISORY.format(more="")
            .replace("0001", f"{number:04}")
            .replace("[versions]", f"[affected]\n{only}\n[versions]")
        )
        (place / f"RUSTSEC-2020-{number:04}.md").write_text(text)
    text = published.lock({("time", "0.1.0"): None})
    asked = ("--target-os", system, "--target-arch", processor)
    expected = theirs(cargo_audit, tmp_path / "db", text, tmp_path, *asked)
    assert ours(tmp_path / "db", text, tmp_path / "cache", f"os {system}", f"arch {processor}") == expected != set()
