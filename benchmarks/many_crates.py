"""A program that needs 900 crates, all of them in a folder that stands in for the registry."""

import hashlib
import json
import random
import subprocess
from pathlib import Path

COUNT = 900
NEEDS = 5
HEAD = """[package]
name = "{name}"
version = "1.{number}.0"
edition = "2021"
license = "MIT OR Apache-2.0"
description = "Crate number {number}"
repository = "https://git.example/{name}"
authors = ["A. Maker <maker@example.org>"]
[dependencies]
"""


def make(folder: Path) -> Path:
    """The workspace, locked. Each crate needs up to five that come after it, so there are no circles."""
    chance = random.Random(9)
    for number in range(COUNT):
        after = range(number + 1, COUNT)
        needs = chance.sample(after, min(NEEDS, len(after)))
        _crate(folder / "vendor" / f"crate-{number}", number, needs)
    root = folder / "app"
    (root / "src").mkdir(parents=True)
    (root / "src" / "main.rs").write_text("fn main() {}\n")
    listed = "".join(f'crate-{number} = "1"\n' for number in range(COUNT))
    manifest = '[package]\nname = "app"\nversion = "1.0.0"\nedition = "2021"\n[dependencies]\n'
    (root / "Cargo.toml").write_text(manifest + listed)
    (root / ".cargo").mkdir()
    source = f'[source.crates-io]\nreplace-with = "vendored"\n[source.vendored]\ndirectory = "{folder}/vendor"\n'
    (root / ".cargo" / "config.toml").write_text(source)
    subprocess.run(["cargo", "generate-lockfile", "--offline", "-q"], cwd=root, check=True)
    return root


def _crate(folder: Path, number: int, needs: list[int]) -> None:
    (folder / "src").mkdir(parents=True)
    (folder / "src" / "lib.rs").write_text("")
    dependencies = "".join(f'crate-{one} = "1"\n' for one in needs)
    (folder / "Cargo.toml").write_text(HEAD.format(name=f"crate-{number}", number=number) + dependencies)
    checksum = {"files": {}, "package": hashlib.sha256(str(number).encode()).hexdigest()}
    (folder / ".cargo-checksum.json").write_text(json.dumps(checksum))
