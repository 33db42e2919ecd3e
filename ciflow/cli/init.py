"""`ciflow init [FOLDER]`: the first files of a project. What was there stays as it is."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
from pathlib import Path
from string import Template
from typing import TYPE_CHECKING

import click

from ciflow.diagnostics import CiflowError, ExitCode, Refused

if TYPE_CHECKING:
    from ciflow.cargo.metadata import Workspace

_TESTED = re.compile(rb"^\s*#\[(?:\w+::)*test\b", re.MULTILINE)
PLAYBOOK, INVENTORY, IGNORED = "release.yml", "inventory.yml", ".gitignore"

_INVENTORY = """\
# Who is reached, and how. `ciflow inventory -i inventory.yml` shows it.
all:
  children:
    app:
      hosts:
        localhost:
          ansible_connection: local
        # web1.example.org:
        #   ansible_user: deploy
"""

_PLAIN = """\
# From what is built to where it runs: `ciflow plan` shows what this does, `ciflow apply` does it.
name: Release
vars:
  version: "0.1.0"
  built: "{{ playbook_dir }}/build"

plays:
  - name: Build
    hosts: localhost
    tasks:
      - name: Make a folder for what is built
        file: {path: "{{ built }}", state: directory, mode: "0755"}
      - name: Build what is released
        copy: {content: "version {{ version }}\\n", dest: "{{ built }}/release.txt", mode: "0644"}
    artifacts:
      - {name: release, path: "{{ built }}/release.txt"}

  - name: Put it in place
    hosts: app
    tasks:
      - name: Make a folder for it
        file: {path: "{{ built }}/in-place", state: directory, mode: "0755"}
      - name: Fetch what was built
        artifact: {name: release, dest: "{{ built }}/in-place/release.txt", mode: "0644"}
"""

_TEST = """\
# From commit to what is delivered: `ciflow plan` shows what this does, `ciflow apply` does it.
name: Release
vars:
  workspace: "{{ playbook_dir }}"

plays:
  - name: Test
    hosts: localhost
    tasks:
      - name: Lint
        cargo: {command: clippy, all_targets: true, deny_warnings: true, chdir: "{{ workspace }}"}
      - name: Run the tests
        $tests

  - name: Build
    hosts: localhost
"""

_LIBRARY = """\
    tasks:
      - name: Build it as it is delivered
        cargo: {command: build, release: true$locked, chdir: "{{ workspace }}"}
"""

_PROGRAMS = """\
    matrix: {bin: $bins}
    tasks:
      - name: Build {{ matrix.bin }}
        cargo: {command: build, release: true$locked, bin: "{{ matrix.bin }}", chdir: "{{ workspace }}"}
    artifacts:
      - {name: "{{ matrix.bin }}", path: $built}

  - name: Vouch
    hosts: localhost
    tasks:
      - name: List what is inside
        sbom: {chdir: "{{ workspace }}"}

# Next, the way to users: name their hosts in inventory.yml, and add a play with a canary (`ciflow doc canary`).
"""


@click.command("init")
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path), default=".")
def command(folder: Path) -> int:
    """Write a first playbook and inventory for FOLDER, a Rust workspace or any other. Nothing is overwritten."""
    rust = _workspace(folder) if (folder / "Cargo.toml").exists() else None
    told = {}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in ((PLAYBOOK, _rust(rust) if rust else _PLAIN), (INVENTORY, _INVENTORY)):
            told[folder / name] = _written(folder / name, text)
        if line := _ignored(rust):
            told[folder / IGNORED] = _noted(folder / IGNORED, line)
    except OSError as error:
        raise CiflowError(f"{error.filename} can't be written: {error.strerror}") from error
    for path, done in told.items():
        click.echo(f"{path}  {done}", err=True)
    there = "" if folder == Path() else f"cd {shlex.quote(str(folder))} && "
    click.echo(f"next: {there}ciflow plan {PLAYBOOK} -i {INVENTORY}", err=True)
    return ExitCode.OK


def _written(path: Path, text: str) -> str:
    """What was done, in a word."""
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        return "is there already, and stays"
    return "written"


def _noted(path: Path, line: str) -> str:
    """The file has the line, behind all that it had before."""
    if path.is_symlink():
        return "is a link, and stays"
    before = path.read_text("utf-8", "surrogateescape") if path.exists() else ""
    if line.strip("/") in {had.strip().strip("/") for had in before.splitlines()}:
        return f"has {line} already"
    with path.open("a", encoding="utf-8") as file:
        file.write(f"{line}\n" if not before or before.endswith("\n") else f"\n{line}\n")
    return f"has {line} now"


def _ignored(rust: Workspace | None) -> str:
    """The folder that the playbook builds in, as git names it; "" where that is elsewhere."""
    if rust is None:
        return "/build/"
    target = os.path.relpath(rust.target_directory, rust.root)
    return "" if target.startswith("..") else f"/{target}/"


# --- Rust ------------------------------------------------------------------------------------------------------


def _workspace(folder: Path) -> Workspace:
    """What cargo says of it, without the network. Refused where it can't, or where the workspace begins elsewhere."""
    from ciflow.cargo.metadata import parse

    argv = ["cargo", "metadata", "--no-deps", "--format-version", "1"]
    try:
        asked = subprocess.run(argv, cwd=folder, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
    except FileNotFoundError as error:
        raise Refused(f"{folder / 'Cargo.toml'} is there, and no cargo to ask what it builds") from error
    if asked.returncode:
        said = asked.stderr.strip().partition("\n")[0].removeprefix("error: ")
        raise Refused(f"cargo can't read {folder / 'Cargo.toml'}: {said}", help="`cargo metadata` there says more")
    found = parse(asked.stdout)
    if Path(found.root).resolve() != folder.resolve():
        raise Refused(f"{folder} is a part of the workspace {found.root}",
                      help=f"ciflow init {shlex.quote(found.root)}")  # fmt: skip
    return found


def _rust(rust: Workspace) -> str:
    """The playbook. Names come from manifests, so they stand in quotes."""
    target = os.path.relpath(rust.target_directory, rust.root)
    where = rust.target_directory if target.startswith("..") else f"{{{{ workspace }}}}/{target}"
    tests = "nextest: {" if _has_tests(rust) else "cargo: {command: test, "  # nextest takes no tests for a mistake
    return Template(_TEST + (_PROGRAMS if rust.bins else _LIBRARY)).substitute(
        bins=json.dumps(sorted(rust.bins), ensure_ascii=False),
        built=json.dumps(f"{where}/release/{{{{ matrix.bin }}}}", ensure_ascii=False),
        tests=f'{tests}chdir: "{{{{ workspace }}}}"}}',
        locked=", locked: true" if (Path(rust.root) / "Cargo.lock").exists() else "",
    )


def _has_tests(rust: Workspace) -> bool:
    folders = (Path(rust.root) / member.directory for member in rust.members)
    sources = (path for folder in folders for part in ("src", "tests") for path in (folder / part).rglob("*.rs"))
    return any(path.is_file() and _TESTED.search(path.read_bytes()) for path in sources)
