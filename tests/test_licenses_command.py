"""`ciflow licenses` on a real workspace whose crates of others lie beside it: this machine's own cargo."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.test_cli import Shell

pytestmark = pytest.mark.skipif(shutil.which("cargo") is None, reason="cargo is not installed")

MANIFEST = '[package]\nname = "{name}"\nversion = "1.0.0"\nedition = "2021"\n{licence}\n{more}'
OTHERS = {
    "friendly": ('license = "MIT OR Apache-2.0"', '[dependencies]\ncopyleft = { path = "../copyleft" }\n'),
    "copyleft": ('license = "GPL-3.0-only"', ""),
    "helper": ('license = "ISC"', ""),
    "dev_only": ('license = "AGPL-3.0-only"', ""),
    "windows_only": ('license = "AGPL-3.0-only"', ""),
    "silent": ("", ""),
}
NEEDS = """
[dependencies]
friendly = { path = "../friendly" }
silent = { path = "../silent" }
[target.'cfg(windows)'.dependencies]
windows_only = { path = "../windows_only" }
[build-dependencies]
helper = { path = "../helper" }
[dev-dependencies]
dev_only = { path = "../dev_only" }
"""


@pytest.fixture
def ciflow(tmp_path: Path) -> Shell:
    (tmp_path / "home").mkdir()
    for name, (licence, more) in {**OTHERS, "app": ("", NEEDS)}.items():
        source = tmp_path / name / "src"
        source.mkdir(parents=True)
        (source / "lib.rs").write_text("")
        (tmp_path / name / "Cargo.toml").write_text(MANIFEST.format(name=name, licence=licence, more=more))
        (tmp_path / name / "LICENSE-TEXT").write_text(
            f"Terms of {'all' if name in ('friendly', 'copyleft') else name}.\n"
        )
    (tmp_path / "silent" / "LICENSE-TEXT").unlink()
    (tmp_path / "silent" / "COPYING").symlink_to("/etc/passwd")
    (tmp_path / "app" / ".config").mkdir()
    subprocess.run(["cargo", "generate-lockfile", "--offline"], cwd=tmp_path / "app", check=True, capture_output=True)
    return Shell(tmp_path)


def cargo_home(ciflow: Shell) -> dict[str, str]:
    """cargo comes by rustup, which looks into the home of whoever calls it."""
    home = Path.home()
    return {"RUSTUP_HOME": str(home / ".rustup"), "CARGO_HOME": str(ciflow.folder / "cargo")}


def test_what_is_not_taken_is_shown_with_what_brings_it_in(ciflow: Shell) -> None:
    (ciflow.folder / "app" / ".config" / "licenses.toml").write_text('allow = ["MIT"]\nunknown = "allow"\n')
    done = ciflow("licenses", "check", "app", **cargo_home(ciflow))
    assert done.returncode == 4, done.stderr
    assert done.stdout.splitlines() == [
        "copyleft 1.0.0  unlisted: GPL-3.0-only",
        "  app 1.0.0 -> friendly 1.0.0 -> copyleft 1.0.0",
        "helper 1.0.0  unlisted: ISC",
        "  app 1.0.0 -> helper 1.0.0  (only in the build)",
    ]
    assert done.stderr == "error: 2 of 4 crates have a licence that is not taken\n"


def test_nothing_is_checked_without_a_policy(ciflow: Shell) -> None:
    done = ciflow("licenses", "check", "app", **cargo_home(ciflow))
    assert done.returncode == 4
    assert "nothing says which licences are allowed" in done.stderr


def test_the_list_counts_licences_and_a_platform_changes_it(ciflow: Shell) -> None:
    told = json.loads(ciflow("licenses", "list", "app", "--json", **cargo_home(ciflow)).stdout)
    assert told["licenses"] == {"GPL-3.0-only": 1, "ISC": 1, "MIT OR Apache-2.0": 1, "none said": 1}
    other = ciflow("licenses", "list", "app", "--json", "--target", "x86_64-pc-windows-msvc", **cargo_home(ciflow))
    assert "AGPL-3.0-only" in json.loads(other.stdout)["licenses"]


def test_a_licence_with_control_characters_moves_no_terminal(ciflow: Shell) -> None:
    manifest = ciflow.folder / "silent" / "Cargo.toml"
    manifest.write_text(manifest.read_text().replace('"2021"', '"2021"\nlicense = "\\u001b[2J\\nfree"'))
    done = ciflow("licenses", "list", "app", **cargo_home(ciflow))
    assert (done.returncode, "\x1b" in done.stdout, "[2J" in done.stdout) == (0, False, True)
    ciflow("licenses", "notices", "app", "-o", "NOTICES", **cargo_home(ciflow))
    assert "\x1b" not in (ciflow.folder / "NOTICES").read_text()


def test_notices_have_the_texts_of_what_is_delivered_and_follow_no_link(ciflow: Shell) -> None:
    done = ciflow("licenses", "notices", "app", "-o", "NOTICES", **cargo_home(ciflow))
    assert done.returncode == 0, done.stderr
    text = (ciflow.folder / "NOTICES").read_text()
    assert text.count("Terms of all.") == 1
    assert "Terms of helper" not in text
    assert "root:" not in text
    assert "note: silent 1.0.0 brings no text of its licence" in done.stdout
    again = ciflow("licenses", "notices", "app", "-o", "AGAIN", **cargo_home(ciflow))
    assert (again.returncode, (ciflow.folder / "AGAIN").read_text()) == (0, text)


def test_the_role_vets_a_workspace(ciflow: Shell) -> None:
    record = {"id": "GHSA-1", "affected": [{"package": {"ecosystem": "crates.io", "name": "x"}, "versions": ["1.0.0"]}]}
    (ciflow.folder / "db").mkdir()
    (ciflow.folder / "db" / "GHSA-1.json").write_text(json.dumps(record))
    (ciflow.folder / "app" / ".config" / "licenses.toml").write_text('deny = ["GPL-3.0-only"]\nunknown = "allow"\n')
    variables = "{rust_ci_folder: app, rust_ci_advisories: [db]}"
    ciflow.write(
        site=f"""
- name: Vet
  hosts: localhost
  gather_facts: false
  tasks:
    - import_role: {{name: rust_ci, tasks_from: vet}}
      vars: {variables}
"""
    )
    done = ciflow("apply", "site.yml", **cargo_home(ciflow))
    assert done.returncode == 4
    assert "copyleft 1.0.0: GPL-3.0-only is denied" in " ".join(done.stderr.split())
