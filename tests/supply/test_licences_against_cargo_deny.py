"""The same crates and the same list of licences through cargo-deny and through ciflow."""

from __future__ import annotations

import json
import shutil
import subprocess
from datetime import date
from pathlib import Path

import pytest

from ciflow.supply.crate_licences import crates_of
from ciflow.supply.licence_policy import Policy, judged, names
from tests.parts.process import find

pytestmark = pytest.mark.skipif(shutil.which("cargo") is None, reason="cargo is not installed")

EXPRESSIONS = (
    "MIT",
    "MIT OR Apache-2.0",
    "MIT/Apache-2.0",
    "MIT AND Apache-2.0",
    "ISC",
    "MIT AND ISC",
    "ISC OR Zlib",
    "(MIT OR ISC) AND Zlib",
    "(MIT OR ISC) AND (Zlib OR Apache-2.0)",
    "MIT OR ISC AND Zlib",
    "GPL-3.0-only",
    "GPL-3.0-or-later",
    "GPL-2.0-or-later OR MIT",
    "Apache-2.0 WITH LLVM-exception",
    "Apache-2.0 WITH LLVM-exception OR Apache-2.0 OR MIT",
    "LGPL-2.1-only WITH OCaml-LGPL-linking-exception",
    "Unicode-3.0",
    "(Apache-2.0 OR MIT) AND Unicode-3.0",
    "BSD-3-Clause",
    "0BSD OR MIT OR Apache-2.0",
    "CC0-1.0",
    "Unlicense OR MIT",
)
ALLOWED = ("MIT", "Apache-2.0", "Unicode-3.0", "LGPL-2.1-only WITH OCaml-LGPL-linking-exception")
DENY_TOML = """
[licenses]
allow = {allow}
[licenses.private]
ignore = true
"""


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A crate of one's own that needs one with each expression, all beside it."""
    root = tmp_path_factory.mktemp("licences")
    needs = "".join(f'c{number} = {{ path = "../c{number}" }}\n' for number in range(len(EXPRESSIONS)))
    manifests = {f"c{number}": f'license = "{text}"\n' for number, text in enumerate(EXPRESSIONS)}
    manifests["app"] = f"publish = false\n[dependencies]\n{needs}"
    for name, more in manifests.items():
        (root / name / "src").mkdir(parents=True)
        (root / name / "src" / "lib.rs").write_text("")
        (root / name / "Cargo.toml").write_text(
            f'[package]\nname = "{name}"\nversion = "1.0.0"\nedition = "2021"\n{more}'
        )
    allow = json.dumps(list(ALLOWED))
    (root / "app" / "deny.toml").write_text(DENY_TOML.format(allow=allow))
    return root / "app"


def theirs(workspace: Path) -> set[str]:
    program = find("cargo-deny", "cargo-deny")
    argv = [program, "--offline", "--format", "json", "--config", "deny.toml", "check", "licenses"]
    done = subprocess.run(argv, cwd=workspace, capture_output=True, text=True, timeout=120)
    said = [json.loads(line) for line in done.stderr.splitlines() if line.startswith("{")]
    errors = [one["fields"] for one in said if one["fields"].get("severity") == "error"]
    return {one["graphs"][0]["Krate"]["name"] for one in errors}


def test_what_is_refused_is_what_cargo_deny_refuses(workspace: Path) -> None:
    argv = ["cargo", "metadata", "--format-version=1", "--offline"]
    metadata = subprocess.run(argv, cwd=workspace, capture_output=True, text=True, check=True).stdout
    verdicts, _ = judged(crates_of(metadata), Policy(names(list(ALLOWED), "test")), date(2026, 1, 1))
    assert len(verdicts) == len(EXPRESSIONS)
    expected = theirs(workspace)
    texts = dict(enumerate(EXPRESSIONS))
    refused = {one.crate.name for one in verdicts if not one.good}
    assert {texts[int(name[1:])] for name in refused} == {texts[int(name[1:])] for name in expected}
    assert len(expected) == 9
