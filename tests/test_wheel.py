"""The wheel, alone in an empty environment: all that it needs beside its dependencies is inside."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
import venv
import zipfile
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import pytest

import ciflow

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
SHIPPED = {"inventory", "playbooks", "roles", "schemas"}
RELEASE = """
- name: Roll out
  hosts: localhost
  canary:
    service: shop
    version: "1.0"
    router: {haproxy: {socket: /run/haproxy/admin.sock}}
    slots: {a: {port: 8081}, b: {port: 8082}}
    steps: [1%, 25%]
    gates: [errors, latency: {slower_than: [50ms]}]
  roles:
    - {role: slot, slot_home: /opt/shop, slot_file: shop}
"""


@dataclass(frozen=True)
class Installed:
    """A virtual environment with nothing in it but the wheel; the dependencies are seen through a .pth file."""

    folder: Path
    wheel: Path

    def __call__(self, *words: str) -> subprocess.CompletedProcess[str]:
        argv = [str(self.folder / "bin" / "ciflow"), *words]
        env = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "PYTHONHOME")}
        return subprocess.run(argv, cwd=self.folder, env=env, capture_output=True, text=True, timeout=60)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built without a network, from a copy, so that nothing is left in the checkout."""
    if int(version("setuptools").partition(".")[0]) < 77:
        pytest.skip("setuptools 77 or later builds the wheel: make install")
    source, built = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    for name in kept():
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).write_bytes((ROOT / name).read_bytes())
    argv = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(built), str(source)]
    done = subprocess.run(argv, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return next(built.glob("*.whl"))


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Installed:
    folder = tmp_path_factory.mktemp("empty") / "venv"
    venv.create(folder, with_pip=False, symlinks=True)
    site = next((folder / "lib").glob("python*/site-packages"))
    pip = [sys.executable, "-m", "pip", "--python", str(folder / "bin" / "python"), "install", "--quiet"]
    subprocess.run([*pip, "--no-deps", "--no-index", "--disable-pip-version-check", str(wheel)], check=True)
    (site / "dependencies.pth").write_text(str(dependencies()) + "\n")
    return Installed(folder, wheel)


def dependencies() -> Path:
    """Where this environment has them; ciflow itself is not there, an editable install only points to it."""
    import click

    return Path(click.__file__).parents[1]


@pytest.mark.slow
def test_the_wheel_alone_works(installed: Installed) -> None:
    assert installed("--version").stdout == f"ciflow {ciflow.__version__}\n"
    (installed.folder / "release.yml").write_text(RELEASE)
    checked = installed("validate", "release.yml")
    assert (checked.returncode, checked.stderr) == (0, "release.yml: 1 play, nothing wrong\n")
    assert "dest (path, needed)" in installed("doc", "copy").stdout
    assert "CF0105" in installed("doc", "CF0105").stdout


@pytest.mark.slow
def test_it_is_the_wheel_that_was_tried_and_not_this_checkout(installed: Installed) -> None:
    python = [str(installed.folder / "bin" / "python"), "-c", "import ciflow; print(ciflow.__file__)"]
    where = subprocess.run(python, cwd=installed.folder, capture_output=True, text=True, check=True).stdout
    assert where.startswith(str(installed.folder))


@pytest.mark.slow
def test_a_shipped_role_has_its_argument_checked_from_inside_the_wheel(installed: Installed) -> None:
    (installed.folder / "wrong.yml").write_text(RELEASE.replace("slot_home: /opt/shop, ", ""))
    checked = installed("validate", "wrong.yml")
    assert checked.returncode == 3
    assert "slot_home" in checked.stderr


@pytest.mark.slow
def test_the_wheel_runs_a_playbook(installed: Installed) -> None:
    """The agent is sent from inside it."""
    (installed.folder / "say.yml").write_text("- hosts: localhost\n  tasks:\n    - command: echo hello\n")
    done = installed("apply", "say.yml", "--state", str(installed.folder / "state"))
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_everything_that_is_read_at_run_time_is_inside(wheel: Path) -> None:
    inside = set(zipfile.ZipFile(wheel).namelist())
    for name in SHIPPED:
        wanted = {path.relative_to(ROOT).as_posix() for path in (ROOT / name).rglob("*") if path.is_file()}
        assert {f"ciflow/shipped/{path}" for path in wanted & kept()} <= inside
    data = {path.relative_to(ROOT).as_posix() for path in (ROOT / "ciflow").rglob("*") if path.is_file()}
    assert data & kept() <= inside
    assert f"ciflow-{ciflow.__version__}.dist-info/licenses/LICENSE" in inside
    assert not [name for name in inside if name.startswith(("tests/", "examples/", "benchmarks/"))]


def kept() -> set[str]:
    """Every file of the project as it is now, committed or not, but none that git ignores."""
    argv = ["git", "-C", str(ROOT), "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    known = subprocess.run(argv, capture_output=True, text=True, check=True).stdout.split("\0")
    return {name for name in known if name and (ROOT / name).is_file()}


def test_the_packages_named_are_those_on_disk() -> None:
    named = set(PROJECT["tool"]["setuptools"]["packages"])
    found = {".".join(path.parent.relative_to(ROOT).parts) for path in (ROOT / "ciflow").rglob("__init__.py")}
    assert named == found | {f"ciflow.shipped.{name}" for name in SHIPPED}


def test_the_dependencies_of_users_have_lower_bounds_and_nothing_else() -> None:
    for wanted in PROJECT["project"]["dependencies"]:
        assert ">=" in wanted
        assert not {"<", "==", "~="} & set(wanted.replace(">=", "")), wanted
