"""cargo, nextest and sbom on a real, tiny workspace: this machine's own cargo."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.modules.host import Host

pytestmark = pytest.mark.skipif(shutil.which("cargo") is None, reason="cargo is not installed")

LIBRARY = """
/// ```
/// assert_eq!(core_of::twice(2), 4);
/// ```
pub fn twice(x: u32) -> u32 { x * 2 }

#[cfg(test)]
mod tests {
    #[test] fn doubles() { assert_eq!(super::twice(3), 6); }
    #[test] #[ignore] fn left_out() {}
}
"""


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("workspace")
    (root / "Cargo.toml").write_text('[workspace]\nresolver = "2"\nmembers = ["core_of", "server"]\n')
    manifest = '[package]\nname = "{}"\nversion = "1.2.3"\nedition = "2021"\nlicense = "MIT"\n\n[dependencies]\n{}'
    for name, needs in (("core_of", ""), ("server", 'core_of = { path = "../core_of" }\n')):
        (root / name / "src").mkdir(parents=True)
        (root / name / "Cargo.toml").write_text(manifest.format(name, needs))
    (root / "core_of" / "src" / "lib.rs").write_text(LIBRARY)
    (root / "server" / "src" / "main.rs").write_text('fn main() { println!("{}", core_of::twice(21)); }\n')
    subprocess.run(["cargo", "generate-lockfile", "--offline"], cwd=root, check=True, capture_output=True)
    return root


def test_a_build_reports_its_programs_and_is_a_change_once(host: Host, workspace: Path) -> None:
    args = {"chdir": str(workspace), "bin": "server", "locked": True, "offline": True}
    first, again = host.task("cargo", args), host.task("cargo", args)
    assert not first.failed, first.msg
    assert (first.changed, again.changed) == (True, False)
    assert first.data["executables"] == {"server": str(workspace / "target" / "debug" / "server")}
    assert subprocess.run([first.data["artifact"]], capture_output=True, text=True, check=True).stdout == "42\n"
    assert (first.data["compiled"], again.data["fresh"]) == (2, 2)


def test_dependencies_alone_are_built_once_and_serve_the_whole_build(host: Host, tmp_path: Path) -> None:
    """One outside of the workspace stands for what comes from a registry; the crates of the workspace do not even have
    to compile, their kinds and their tests included."""
    for name in ("outside", "shop/server/src", "shop/macros/src", "outside/src"):
        (tmp_path / name).mkdir(parents=True, exist_ok=True)
    package = '[package]\nname = "{}"\nversion = "1.0.0"\nedition = "2021"\n'
    needs = '[dependencies]\noutside = {path = "../../outside"}\nmacros = {path = "../macros"}\n'
    shop = tmp_path / "shop"
    (tmp_path / "outside" / "Cargo.toml").write_text(package.format("outside"))
    (tmp_path / "outside" / "src" / "lib.rs").write_text("pub fn answer() -> u32 { 42 }\n")
    (shop / "Cargo.toml").write_text('[workspace]\nresolver = "2"\nmembers = ["server", "macros"]\n')
    (shop / "macros" / "Cargo.toml").write_text(package.format("macros") + "[lib]\nproc-macro = true\n")
    (shop / "macros" / "src" / "lib.rs").write_text("not yet")
    (shop / "server" / "Cargo.toml").write_text(package.format("server") + needs)
    (shop / "server" / "build.rs").write_text("not yet")
    (shop / "server" / "src" / "main.rs").write_text("not yet")
    args = {"chdir": str(shop), "offline": True, "workspace": True, "all_targets": True}
    before = host.task("cargo", {**args, "dependencies_only": True})
    assert not before.failed, before.data["stderr"]
    assert (before.data["executables"], before.data["artifact"]) == ({}, None)
    empty = subprocess.run([shop / "target" / "debug" / "server"], capture_output=True, text=True, check=False)
    assert (empty.returncode, "only the dependencies" in empty.stderr) == (1, True)
    (shop / "macros" / "src" / "lib.rs").write_text("")
    (shop / "server" / "build.rs").write_text("fn main() {}\n")
    (shop / "server" / "src" / "main.rs").write_text('fn main() { println!("{}", outside::answer()); }\n')
    after = host.task("cargo", args)
    assert not after.failed, after.data["stderr"]
    assert "Compiling server" in after.data["stderr"] and "Compiling outside" not in after.data["stderr"]
    program = after.data["executables"]["server"]
    assert subprocess.run([program], capture_output=True, text=True, check=True).stdout == "42\n"


def test_an_error_of_the_compiler_is_told_with_its_place(host: Host, workspace: Path) -> None:
    source = workspace / "server" / "src" / "main.rs"
    good = source.read_text()
    source.write_text('fn main() {\n    let x: u32 = "a";\n}\n')
    try:
        outcome = host.task("cargo", {"command": "check", "chdir": str(workspace), "offline": True})
    finally:
        source.write_text(good)
    assert outcome.failed
    assert outcome.msg == "error[E0308]: mismatched types at server/src/main.rs:2:18"


def test_tests_and_documentation_are_run_and_counted(host: Host, workspace: Path) -> None:
    outcome = host.task("nextest", {"chdir": str(workspace), "offline": True})
    assert not outcome.failed, outcome.msg
    assert (outcome.data["tests"], outcome.data["passed"], outcome.data["failures"]) == (2, 2, 0)
    nextest = outcome.data["runner"].startswith("cargo-nextest")
    assert nextest or "cargo-nextest is not installed" in outcome.msg
    if nextest:
        assert outcome.data["doctests"] == 1
        assert "doubles" in Path(outcome.data["junit"]).read_text()


def test_a_bill_lists_the_crates_and_the_same_inputs_give_the_same_bytes(host: Host, workspace: Path) -> None:
    args = {"chdir": str(workspace), "dest": str(workspace / "out"), "artifact": "server", "epoch": 1700000000}
    first, again = host.task("sbom", args), host.task("sbom", args)
    assert not first.failed, first.msg
    assert (first.changed, again.changed) == (True, False)
    for path, digest in first.data["files"].items():
        assert hashlib.sha256(Path(path).read_bytes()).hexdigest() == digest
    bill = json.loads((workspace / "out" / "server.cdx.json").read_text())
    assert bill["metadata"]["component"]["name"] == "server"
    assert [component["name"] for component in bill["components"]] == ["core_of"]
    assert first.data["components"] == 1
    assert json.loads((workspace / "out" / "server.spdx.json").read_text())["spdxVersion"] == "SPDX-2.3"
