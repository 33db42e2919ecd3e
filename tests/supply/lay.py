"""Lays a workspace of the corpus out on the disk."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

from tests.supply.corpus import Case, manifest

_SHA = hashlib.sha1(b"a commit of the vendored repository").hexdigest()
_DATE = "2024-01-01T00:00:00Z"


@dataclass(frozen=True)
class Laid:
    """A case on the disk: its root, and the right values with this disk's paths and commits in them."""

    root: Path
    right: dict[str, str]


def lay(case: Case, base: Path) -> Laid:
    """Write crates, repositories and files below `base`, and the lock if the case brings none."""
    words = {"base": str(base), "sha": _SHA}
    for name, branch in case.repositories.items():
        words[name] = _repository(base / name, name, branch)
    for crate, rest in case.crates.items():
        name, version = crate.split()
        _fetched(base / "vendor", name, version, rest)
    (base / "vendor").mkdir(exist_ok=True)
    root = base / "work"
    _write(root / ".cargo" / "config.toml", _filled(_config(base) + case.config, words))
    for path, content in case.files.items():
        _write(root / path, _filled(content, words))
    if "Cargo.lock" not in case.files:
        cargo = ["cargo", "generate-lockfile", "-q"]
        done = subprocess.run(cargo, cwd=root, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stderr
    return Laid(root, {_filled(purl, words): scope for purl, scope in case.right.items()})


def _filled(text: str, words: dict[str, str]) -> str:
    for name, value in words.items():
        text = text.replace("{" + name + "}", value)
    return text


def _config(base: Path) -> str:
    return f'[source.crates-io]\nreplace-with = "vendored"\n[source.vendored]\ndirectory = "{base}/vendor"\n'


def _write(path: Path, content: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)


def _fetched(store: Path, name: str, version: str, rest: str) -> None:
    """A crate as Cargo vendors it; one of a repository has no checksum of a package."""
    folder = store / f"{name}-{version}"
    _write(folder / "Cargo.toml", manifest(name, "" if rest == "git" else rest, version))
    _write(folder / "src" / "lib.rs", "")
    package = None if rest == "git" else hashlib.sha256(f"{name} {version}".encode()).hexdigest()
    _write(folder / ".cargo-checksum.json", json.dumps({"files": {}, "package": package}))


def _repository(folder: Path, name: str, branch: str) -> str:
    """A repository with one commit, on this branch, tagged v1."""
    _write(folder / "Cargo.toml", manifest(name, "", "0.1.0"))
    _write(folder / "src" / "lib.rs", "")
    identity = ["-c", "user.name=t", "-c", "user.email=t@example.org", "-c", f"init.defaultBranch={branch}"]
    dated = {**os.environ, "GIT_AUTHOR_DATE": _DATE, "GIT_COMMITTER_DATE": _DATE}
    for command in (["init", "-q"], ["add", "."], ["commit", "-qm", name], ["tag", "v1"]):
        subprocess.run(["git", *identity, *command], cwd=folder, check=True, env=dated)
    done = subprocess.run(["git", "rev-parse", "HEAD"], cwd=folder, check=True, capture_output=True, text=True)
    return done.stdout.strip()
