"""Settings of the compiler, measured with the real cargo."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.modules.host import Host

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("cargo") is None, reason="cargo is not installed"),
]


def test_each_setting_is_built_and_nothing_of_the_project_is_changed(host: Host, tmp_path: Path) -> None:
    (tmp_path / "src").mkdir()
    (tmp_path / "Cargo.toml").write_text('[package]\nname = "shop"\nversion = "1.0.0"\nedition = "2021"\n')
    (tmp_path / "src" / "main.rs").write_text('fn main() { println!("hello"); }\n')
    subprocess.run(["cargo", "generate-lockfile", "--offline"], cwd=tmp_path, check=True, capture_output=True)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    outcome = host.task(
        "compile_settings", {"chdir": str(tmp_path), "settings": ["debug", "linker"], "rounds": 1, "offline": True}
    )
    assert not outcome.failed, outcome.msg
    measured = outcome.data["measured"]
    assert {"as it is", "line tables only", "no debug information"} <= measured.keys()
    assert all(taken["whole"] > 0 and taken["again"] > 0 for taken in measured.values())
    built = [operation.argv for operation in host.asked if getattr(operation, "argv", ())[:1] == ("cargo",)]
    assert len(built) >= 1 + 2 * 4
    after = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    assert after == before
