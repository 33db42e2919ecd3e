"""A Cargo workspace with every kind of dependency, whose registries are directories: no network is needed."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

LINUX = "x86_64-unknown-linux-gnu"


def checksum(name: str, version: str) -> str:
    """The SHA-256 that the made-up registry gives for a crate."""
    return hashlib.sha256(f"{name} {version}".encode()).hexdigest()


@dataclass(frozen=True)
class Workspace:
    root: Path
    commit: str

    def cargo(self, *args: str) -> str:
        done = subprocess.run(
            ["cargo", *args, "--offline", "--locked"], cwd=self.root, capture_output=True, text=True, timeout=60
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    @property
    def metadata(self) -> str:
        return self.cargo("metadata", "--format-version", "1")

    @property
    def lock(self) -> str:
        return (self.root / "Cargo.lock").read_text()

    def tree(self, edges: str) -> set[tuple[str, str]]:
        """(name, version) by `cargo tree`, Cargo's own view of what the app needs."""
        text = self.cargo(
            "tree", "-p", "app", "-e", edges, "--target", LINUX, "--prefix", "none", "--no-dedupe", "-f", "{p}"
        )
        words = (line.split() for line in text.splitlines() if line.strip())
        return {(name, version.removeprefix("v")) for name, version, *_ in words}


def build(base: Path) -> Workspace:
    if shutil.which("cargo") is None or shutil.which("git") is None:
        pytest.skip("cargo and git make the workspace of this test")
    root, vendor, mine = base / "demo", base / "vendor", base / "mine"
    commit = _git_crate(base / "delta")
    for name, version, rest in _FETCHED:
        _fetched(vendor, name, version, rest)
    _fetched(mine, "omega", "1.0.0", "")
    _crate(base / "outside" / "local", "local", "0.3.0", 'license = "LicenseRef-Own"')
    _workspace(root, base)
    subprocess.run(["cargo", "generate-lockfile", "-q"], cwd=root, check=True, timeout=60)
    return Workspace(root, commit)


_FETCHED = [
    ("alpha", "0.9.2", 'license = "MIT"'),
    ("alpha", "1.2.3", 'license = "Apache-2.0/MIT"\nauthors = ["A. Maker <a@example.org>", "B"]'),
    ("beta", "1.0.0", '[dependencies]\nalpha = "0.9"'),
    ("gamma", "1.0.0+build.7", 'license = "MIT OR Apache-2.0"\nhomepage = "https://gamma.example/a b"'),
    ("builder", "1.0.0", '[dependencies]\ncommon = "1"\nhostonly = "1"'),
    ("common", "1.0.0", 'license-file = "COPYING"'),
    ("hostonly", "1.0.0", ""),
    ("quoteish", "1.0.0", ""),
    ("tester", "1.0.0", '[dependencies]\ntestdep = "1"'),
    ("testdep", "1.0.0", ""),
    ("winonly", "1.0.0", '[dependencies]\nwinsys = "1"'),
    ("winsys", "1.0.0", ""),
    ("unixonly", "1.0.0", ""),
    ("off", "1.0.0", ""),
    ("on", "1.0.0", '[features]\ndefault = ["extra"]\nextra = []'),
]

_APP = """
[features]
default = ["dep:on"]
more = ["dep:off"]
[dependencies]
alpha = "1"
beta = "1"
json = {{ package = "gamma", version = "1" }}
delta = {{ git = "file://{base}/delta" }}
local = {{ path = "../../outside/local" }}
helper = {{ path = "../helper" }}
macros = {{ path = "../macros" }}
omega = {{ version = "1", registry = "mine" }}
common = "1"
on = {{ version = "1", optional = true }}
off = {{ version = "1", optional = true }}
[build-dependencies]
builder = "1"
[dev-dependencies]
tester = "1"
[target.'cfg(windows)'.dependencies]
winonly = "1"
[target.'cfg(all(unix, not(target_os = "macos")))'.dependencies]
unixonly = "1"
"""


def _workspace(root: Path, base: Path) -> None:
    _crate(
        root / "app", "app", "2.0.0", 'license = "Apache-2.0"\nbuild = "build.rs"' + _APP.format(base=base), "main.rs"
    )
    (root / "app" / "build.rs").write_text("fn main() {}\n")
    _crate(root / "helper", "helper", "2.0.0", "")
    _crate(root / "macros", "macros", "2.0.0", '[lib]\nproc-macro = true\n[dependencies]\nquoteish = "1"')
    _crate(root / "idle", "idle", "2.0.0", "")
    (root / "Cargo.toml").write_text('[workspace]\nresolver = "2"\nmembers = ["app", "helper", "macros", "idle"]\n')
    (root / ".cargo").mkdir()
    (root / ".cargo" / "config.toml").write_text(
        f"""
[registries.mine]
index = "sparse+https://registry.example/index/"
[source.crates-io]
replace-with = "vendored"
[source.vendored]
directory = "{base}/vendor"
[source.mine]
registry = "sparse+https://registry.example/index/"
replace-with = "mine-vendored"
[source.mine-vendored]
directory = "{base}/mine"
"""
    )


def _crate(directory: Path, name: str, version: str, rest: str, source: str = "lib.rs") -> None:
    (directory / "src").mkdir(parents=True)
    (directory / "src" / source).write_text("fn main() {}\n" if source == "main.rs" else "")
    package = f'[package]\nname = "{name}"\nversion = "{version}"\nedition = "2021"\n'
    (directory / "Cargo.toml").write_text(package + rest + "\n")


def _fetched(store: Path, name: str, version: str, rest: str) -> None:
    directory = store / f"{name}-{version}"
    _crate(directory, name, version, rest)
    files = {"files": {}, "package": checksum(name, version)}
    (directory / ".cargo-checksum.json").write_text(json.dumps(files))


def _git_crate(directory: Path) -> str:
    _crate(directory, "delta", "0.1.0", 'repository = "https://example.org/delta"')
    identity = ["-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "init.defaultBranch=main"]
    for command in (["init", "-q"], ["add", "."], ["commit", "-qm", "delta"]):
        subprocess.run(["git", *identity, *command], cwd=directory, check=True)
    done = subprocess.run(["git", "rev-parse", "HEAD"], cwd=directory, check=True, capture_output=True, text=True)
    return done.stdout.strip()
