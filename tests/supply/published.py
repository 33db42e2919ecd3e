"""Cargo.lock files of published crates, and a database of advisories made for them.

The database is made, not RustSec's own (nothing of that can be fetched by a test): its files have that database's
form, the shapes of ranges that occur in it, and the packages of the locks around whose versions the ranges lie, so
that every bound is met from both sides.
"""

from __future__ import annotations

import random
import struct
import tomllib
from collections import defaultdict
from collections.abc import Container, Iterable, Iterator, Mapping
from pathlib import Path

CRATES_IO = "registry+https://github.com/rust-lang/crates.io-index"
_FIXTURE = Path(__file__).parent / "published_locks.txt"
_VECTORS = (
    "CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:H/A:H",
    "CVSS:3.1/AV:L/AC:H/PR:L/UI:R/S:U/C:N/I:N/A:L",
    "CVSS:3.0/AV:N/AC:L/PR:N/UI:N/S:U/C:N/I:N/A:H",
)


def locks() -> Mapping[str, str]:
    """Text of each lock by the crate it came with."""
    found = {}
    for line in _FIXTURE.read_text().splitlines():
        if not line.startswith("#"):
            crate, _, packages = line.partition(": ")
            found[crate] = lock(dict.fromkeys(tuple(one.split()) for one in packages.split(", ")))
    return found


def lock(packages: Mapping[tuple[str, ...], None]) -> str:
    """A lock of version 4; a third word is the source, `.` none."""
    blocks = ["version = 4\n"]
    for name, version, *source in packages:
        said = source[0] if source else CRATES_IO
        blocks.append(
            f'[[package]]\nname = "{name}"\nversion = "{version}"\n' + (f'source = "{said}"\n' if said != "." else "")
        )
    return "\n".join(blocks)


def database(folder: Path, seed: int) -> Path:
    """A folder that cargo-audit and ciflow both take for RustSec's; about every second package has advisories."""
    versions: defaultdict[str, set[str]] = defaultdict(set)
    for line in _FIXTURE.read_text().splitlines():
        if not line.startswith("#"):
            for one in line.partition(": ")[2].split(", "):
                versions[one.split()[0]].add(one.split()[1])
    chance = random.Random(seed)
    number = 0
    for package in sorted(versions):
        for _ in range(chance.choice((0, 0, 1, 1, 2))):
            number += 1
            put(folder, package, f"RUSTSEC-2020-{number:04}", _front(chance, sorted(versions[package])))
    put(folder, "draft", "RUSTSEC-0000-0000", "[versions]\npatched = []\n")
    return folder


def packages(text: str) -> list[tuple[str, str]]:
    """(name, version) of what a lock has from crates.io."""
    return [(one["name"], one["version"]) for one in tomllib.loads(text)["package"] if "source" in one]


def index(name: str, versions: Iterable[str], dependencies: str = "[]", yanked: Container[str] = ()) -> bytes:
    """What cargo keeps of the index of crates.io on one crate: its cache's form, version 3."""
    lines = (
        f'{one}\0{{"name":"{name}","vers":"{one}","deps":{dependencies},"cksum":"{"0" * 64}","features":{{}},'
        f'"yanked":{str(one in yanked).lower()}}}\0'.encode()
        for one in versions
    )
    return b"\x03" + struct.pack("<I", 2) + b"etag: x\0" + b"".join(lines)


def index_place(name: str) -> str:
    """Where that lies: the Cargo book, "Registry Index", "Index files"."""
    folders = {1: "1", 2: "2", 3: f"3/{name[0]}"}.get(len(name), f"{name[:2]}/{name[2:4]}")
    return f"{folders}/{name}".lower()


def put(folder: Path, package: str, name: str, rest: str, body: str = "What goes wrong.") -> None:
    """Write one advisory."""
    place = folder / "crates" / package
    place.mkdir(parents=True, exist_ok=True)
    front = f'id = "{name}"\npackage = "{package}"\ndate = "2020-02-03"\n{rest}'
    (place / f"{name}.md").write_text(f"```toml\n[advisory]\n{front}```\n\n# A hole in {package}\n\n{body}\n")


def _front(chance: random.Random, versions: list[str]) -> str:
    """What of an advisory differs: what kind it is, how bad, and which versions."""
    patched, unaffected = _ranges(chance, versions)
    extra = chance.choice(
        (
            f'cvss = "{chance.choice(_VECTORS)}"\n',
            'aliases = ["CVE-2020-0001", "GHSA-aaaa-bbbb-cccc"]\n',
            f'informational = "{chance.choice(("unsound", "unmaintained", "notice"))}"\n',
            'withdrawn = "2021-01-01"\n' if chance.random() < 0.3 else "",
            "",
        )
    )
    affected = '\n[affected]\nos = ["windows"]\n' if chance.random() < 0.1 else ""
    return f"{extra}\n[versions]\npatched = {_list(patched)}\nunaffected = {_list(unaffected)}\n{affected}"


def _list(texts: list[str]) -> str:
    return "[" + ", ".join(f'"{text}"' for text in texts) + "]"


def _ranges(chance: random.Random, versions: list[str]) -> tuple[list[str], list[str]]:
    """(patched, unaffected) around one of the versions: at it, just above or below, or at a pre-release of it."""
    at = chance.choice(versions).partition("+")[0].partition("-")[0]
    major, minor, patch = (int(part) for part in at.split("."))
    near = chance.choice(
        (
            at,
            at,
            f"{major}.{minor}.{patch + 1}",
            f"{major}.{minor}.{max(patch - 1, 0)}",
            f"{at}-rc.1",
            f"{major}.{minor + 1}.0-alpha",
        )
    )
    above = f"{major + 2}.0.0"
    return chance.choice(
        (
            ([f">= {near}"], []),
            ([f"> {near}"], []),
            ([], []),
            ([], [f"< {near}"]),
            ([f">= {above}"], [f"<= {near}"]),
            ([f"^{near}", f">= {above}"], []),
            ([f"~{near}", f">= {above}"], ["< 0.0.1"]),
            ([f"= {near}", f"> {above}"], []),
            ([near, f">= {above}"], []),
            ([f">= {near}, < {above}"], []),
            ([f"~{major}.{minor}", f"> {above}"], []),
            ([f"^{major}"], []),
        )
    )


def pairs(report: Mapping[str, object]) -> Iterator[tuple[str, str, str, str]]:
    """(kind, advisory, package, version) of a report that cargo-audit wrote as JSON."""
    found = report["vulnerabilities"]
    assert isinstance(found, dict)
    for one in found["list"]:
        yield "vulnerability", one["advisory"]["id"], one["package"]["name"], one["package"]["version"]
    warnings = report["warnings"]
    assert isinstance(warnings, dict)
    for kind, every in warnings.items():
        for one in every:
            if one["advisory"] is not None:
                yield kind, one["advisory"]["id"], one["package"]["name"], one["package"]["version"]
