"""A lock file, a database of advisories and cargo's own cache of the index for W10, of the size that real ones have.

Advisories on crates of the lock are warnings only, so that cargo-audit ends with 0 like a program that did its work.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from tests.supply import published

CRATES = 900
ADVISORIES = 1244  # as many as RustSec had
MET = 60  # advisories on a crate of the lock
VERSIONS = 44  # of a crate in the index, 1.3 kB each: the mean over 493 crates of a real cache
_TEXT = "What goes wrong when it is given more than it asked for, and since which version it does not any more. " * 8
_DEPENDENCIES = [
    {"name": f"crate-{n}", "req": "^1.0", "features": [], "optional": False, "default_features": True, "kind": "normal"}
    for n in range(9)
]


@dataclass(frozen=True)
class Advisories:
    """What a scan is given. `cargo` is a CARGO_HOME that has asked for every crate of the lock."""

    lock: Path
    database: Path
    cargo: Path


def make(folder: Path) -> Advisories:
    packages: dict[tuple[str, ...], None] = {}
    for text in published.locks().values():
        packages |= dict.fromkeys(published.packages(text))
    chosen = list(packages)[:CRATES]
    assert len(chosen) == CRATES
    made = Advisories(folder / "Cargo.lock", folder / "advisory-db", folder / "cargo")
    made.lock.write_text(published.lock(dict.fromkeys(chosen)))
    names = sorted({name for name, *_ in chosen})
    _database(made.database, names[:MET])
    for name in names:
        _index(made.cargo, name, [version for other, version in chosen if other == name])
    return made


def _database(folder: Path, met: list[str]) -> None:
    for number in range(ADVISORIES):
        here = number < len(met)
        kind = 'informational = "unmaintained"' if here else 'cvss = "CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:H/A:H"'
        rest = f'{kind}\n\n[versions]\npatched = [">= 999.0.0"]\nunaffected = ["< 0.0.1"]\n'
        package = met[number] if here else f"elsewhere-{number}"
        published.put(folder, package, f"RUSTSEC-2026-{number:04}", rest, _TEXT)


def _index(cargo: Path, name: str, locked: Iterable[str]) -> None:
    registry = cargo / "registry" / "index" / "index.crates.io-1949cf8c6b5b557f"
    place = registry / ".cache" / published.index_place(name)
    place.parent.mkdir(parents=True, exist_ok=True)
    (registry / "config.json").write_text('{"dl": "https://static.crates.io/crates", "api": "https://crates.io"}')
    versions = [*(f"0.0.{number}" for number in range(VERSIONS)), *locked]
    place.write_bytes(published.index(name, versions, json.dumps(_DEPENDENCIES)))
