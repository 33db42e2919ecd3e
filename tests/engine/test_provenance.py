"""What the engine says of how an artifact was built: of the run as it was, whatever the playbook would like to say."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from ciflow.modules.files import keyfile
from ciflow.store.blobs import Blobs
from ciflow.supply.keys import generate
from ciflow.supply.provenance import read_provenance
from tests.engine.playing import Bench, Played

LOCK = f"""
version = 4
[[package]]
name = "serde"
version = "1.0.0"
source = "registry+https://github.com/rust-lang/crates.io-index"
checksum = "{"a" * 64}"
"""
BUILD = """
- name: Build
  hosts: localhost
  matrix: {bin: [server]}
  tasks:
    - name: Compile it
      command: cp source.txt target/server
      args: {chdir: "{here}/app"}
    - name: Log in
      command: "true {{ password }}"
      no_log: true
    - name: Say it
      command: "echo {{ password }}"
      failed_when: false
  artifacts: [{name: "{{ matrix.bin }}", path: "{here}/app/target/server"}]
- name: Pack
  hosts: localhost
  tasks:
    - artifact: {name: server, dest: "{here}/out/server"}
    - copy: {src: "{here}/out/server", dest: "{here}/out/pack", remote_src: true}
  artifacts: [{name: pack, path: "{here}/out/pack"}]
"""


def git(folder: Path, *args: str) -> str:
    if shutil.which("git") is None:
        pytest.skip("git is not installed")
    identity = ("-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "init.defaultBranch=main")
    done = subprocess.run(["git", *identity, *args], cwd=folder, check=True, capture_output=True, text=True)
    return done.stdout.strip()


@pytest.fixture
def app(bench: Bench) -> Path:
    """A repository with a lock file, its remote with somebody's password in it, and nothing uncommitted."""
    folder = bench.folder / "app"
    (folder / "target").mkdir(parents=True)
    (folder / "source.txt").write_text("a program")
    (folder / "Cargo.lock").write_text(LOCK)
    (folder / ".gitignore").write_text("target\n")
    git(folder, "init", "-q")
    git(folder, "remote", "add", "origin", "https://ann:hunter2@example.org/acme/app.git")
    git(folder, "add", ".")
    git(folder, "commit", "-qm", "one")
    return folder


def built(bench: Bench) -> Played:
    run = bench.play(BUILD, extra=("password=hunter2",))
    assert run.exit == 0, run.errors()
    return run


def proof(bench: Bench, run: Played, name: str) -> dict[str, Any]:
    (event,) = [event for event in run.of("provenance") if event.data["name"] == name]
    text = Blobs(bench.store / "blobs").get(str(event.data["predicate"]))
    found: dict[str, Any] = json.loads(text)
    return found


def materials(predicate: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {one["name"]: one for one in predicate["buildDefinition"]["resolvedDependencies"]}


def test_it_names_what_the_build_took_in_with_digests(bench: Bench, app: Path) -> None:
    found = materials(proof(bench, built(bench), "server"))
    assert found["source"]["uri"] == "git+https://example.org/acme/app@refs/heads/main"
    assert found["source"]["digest"] == {"gitCommit": git(app, "rev-parse", "HEAD")}
    assert found["serde"] == {"name": "serde", "uri": "pkg:cargo/serde@1.0.0", "digest": {"sha256": "a" * 64}}
    for name, path in (("Cargo.lock", app / "Cargo.lock"), ("play.yml", bench.folder / "play.yml")):
        assert found[name]["digest"] == {"sha256": hashlib.sha256(path.read_bytes()).hexdigest()}


def test_it_says_whether_the_source_had_changes(bench: Bench, app: Path) -> None:
    assert read_provenance(proof(bench, built(bench), "server")).clean is True
    (app / "source.txt").write_text("another program")
    assert read_provenance(proof(bench, built(bench), "server")).clean is False


@pytest.mark.usefixtures("app")
def test_it_tells_the_run_as_the_journal_has_it(bench: Bench) -> None:
    run = built(bench)
    predicate = proof(bench, run, "server")
    asked, inside = (predicate["buildDefinition"][f"{side}ternalParameters"] for side in ("ex", "in"))
    assert (asked["play"], asked["cell"], asked["artifact"]) == ("Build", {"bin": "server"}, "server")
    told = [(task["name"], task["status"]) for task in inside["tasks"]]
    assert told == [end for end in run.ends() if end[0] in ("Compile it", "Log in", "Say it")]
    assert inside["tasks"][0]["cmd"] == ["cp", "source.txt", "target/server"]
    metadata = predicate["runDetails"]["metadata"]
    assert metadata["invocationId"].startswith(run.run)
    began, ended = run.of("play_started")[0].at, run.of("play_ended")[0].at
    seen = read_provenance(predicate)
    assert began - 1 <= (seen.started or 0) <= (seen.finished or 0) <= ended


@pytest.mark.usefixtures("app")
def test_what_an_earlier_play_left_is_a_material_of_the_next(bench: Bench) -> None:
    run = built(bench)
    (server,) = [event.data for event in run.of("artifact") if event.data["name"] == "server"]
    assert materials(proof(bench, run, "pack"))["server"]["digest"] == {"sha256": server["sha256"]}


@pytest.mark.usefixtures("app")
def test_values_of_variables_and_of_hidden_tasks_are_not_told(bench: Bench) -> None:
    """`-e` may hold secrets, and nobody can tell: its names are said."""
    predicate = proof(bench, built(bench), "server")
    assert predicate["buildDefinition"]["externalParameters"]["extra_vars"] == ["password"]
    hidden = predicate["buildDefinition"]["internalParameters"]["tasks"][1]
    assert "cmd" not in hidden
    assert "hunter2" not in json.dumps(materials(predicate))


@pytest.mark.usefixtures("app")
def test_the_builder_is_the_ci_where_there_is_one(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CIFLOW_BUILDER_ID", raising=False)
    monkeypatch.setenv("GITHUB_SERVER_URL", "https://github.com")
    monkeypatch.setenv("GITHUB_WORKFLOW_REF", "acme/app/.github/workflows/release.yml@refs/heads/main")
    told = read_provenance(proof(bench, built(bench), "server"))
    assert told.builder == "https://github.com/acme/app/.github/workflows/release.yml@refs/heads/main"


@pytest.mark.usefixtures("app")
def test_a_playbook_cannot_write_provenance_of_its_own(bench: Bench) -> None:
    forged = (
        BUILD
        + """
- name: Forge
  hosts: localhost
  tasks:
    - name: Forge
      attest:
        artifact: server
        documents: {"{here}/mine.json": "https://slsa.dev/provenance/v1"}
        key: "{here}/k.pem"
        passphrase: x
"""
    )
    run = bench.play(forged, extra=("password=hunter2",))
    assert "provenance is written by ciflow itself" in run.msg("Forge")


def test_a_build_outside_of_any_repository_says_so_by_silence(bench: Bench) -> None:
    (bench.folder / "app" / "target").mkdir(parents=True)
    (bench.folder / "app" / "source.txt").write_text("a program")
    predicate = proof(bench, built(bench), "server")
    assert "source" not in materials(predicate)
    assert read_provenance(predicate).source == ""


def test_an_artifact_that_the_store_had_keeps_the_provenance_of_the_run_that_made_it(bench: Bench, app: Path) -> None:
    text = BUILD.replace('path: "{here}/app/target/server"', 'path: "{here}/app/target/server", key: same')
    first = bench.play(text, extra=("password=hunter2",))
    (app / "source.txt").write_text("another program")
    second = bench.play(text, extra=("password=hunter2",))
    assert (first.plays()["Build"], second.plays()["Build"]) == ("ok", "skipped")
    assert proof(bench, second, "server") == proof(bench, first, "server")


@pytest.mark.usefixtures("app")
def test_a_task_that_changes_what_the_engine_wrote_is_found(bench: Bench) -> None:
    forged = (
        BUILD
        + """
- name: Forge
  hosts: localhost
  tasks:
    - name: Change it
      shell: grep -l -r buildDefinition {here}/state/blobs | xargs sed -i 's/play.yml/trusted.yml/'
    - name: Attest
      attest: {artifact: server, provenance: true, key: "{here}/k.pem", passphrase: x, dest: "{here}/out"}
"""
    )
    keyfile.write(bench.folder / "k.pem", generate(b"x"))
    run = bench.play(forged, extra=("password=hunter2",))
    assert run.exit == 4 and "was changed since it was kept" in run.msg("Attest")
