"""`sbom` of what lies on a host: the same documents as the command makes where it lies."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ciflow.cli.app import run
from tests.golden.replay import schema
from tests.modules.host import Host
from tests.supply.test_catalogue import AUDITED, rust_program, saved, tar_of

EPOCH = 1700000000
METADATA = b"Metadata-Version: 2.1\nName: Thing\nVersion: 4\nRequires-Dist: other\n"
LOCK = 'version = 4\n\n[[package]]\nname = "server"\nversion = "1.0.0"\n'


@pytest.fixture
def laid(tmp_path: Path) -> Path:
    """A folder with something of each kind."""
    site = tmp_path / "site"
    for name, content in {
        "Thing-4.dist-info/METADATA": METADATA,
        "other-1.dist-info/METADATA": b"Metadata-Version: 2.1\nName: other\nVersion: 1\n",
        ".git/Hidden-1.dist-info/METADATA": b"Metadata-Version: 2.1\nName: Hidden\nVersion: 1\n",
        "web/package-lock.json": b'{"name": "web", "version": "2.0.0", "lockfileVersion": 3, "packages": {"": {"name": '
        b'"web", "version": "2.0.0", "dependencies": {"left": "^1"}}, "node_modules/left": {"version": "1.3.0"}}}',
        "rust/Cargo.lock": LOCK.encode(),
        "empty/METADATA": b"",
    }.items():
        (site / name).parent.mkdir(parents=True, exist_ok=True)
        (site / name).write_bytes(content)
    (site / "linked").symlink_to("web")
    return tmp_path


def named(path: Path) -> set[str]:
    return {component["name"] for component in json.loads(path.read_bytes())["components"]}


def by_command(monkeypatch: pytest.MonkeyPatch, path: str, output: Path, form: str = "cyclonedx-json") -> bytes:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", str(EPOCH))
    assert run(["sbom", path, "-o", str(output), "--format", form]) == 0
    return output.read_bytes()


def by_module(host: Host, laid: Path, path: str, **more: Any) -> dict[str, Any]:
    args = {"path": path, "chdir": str(laid), "dest": str(laid / "out"), "artifact": "it", "epoch": EPOCH}
    outcome = host.task("sbom", {**args, **more})
    assert not outcome.failed, outcome.msg
    return dict(outcome.data)


def test_a_folder_of_a_host_is_listed_in_every_format_as_the_command_lists_it(
    host: Host, laid: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    formats = schema("sbom")["arguments"]["formats"]["allowed"]
    for form in formats:
        (written,) = by_module(host, laid, "site", formats=[form])["files"]
        assert Path(written).read_bytes() == by_command(monkeypatch, str(laid / "site"), laid / "theirs", form), form
    by_module(host, laid, "site")
    assert named(laid / "out" / "it.cdx.json") == {"Thing", "other", "web", "left", "server"}


def program(laid: Path) -> str:
    import zlib

    rust_program(laid, zlib.compress(json.dumps(AUDITED).encode()))
    return "server"


def image(laid: Path) -> str:
    (laid / "app.tar").write_bytes(saved({"l/layer.tar": tar_of({"opt/Thing-4.dist-info/METADATA": METADATA})}))
    return "app.tar"


def lock(_laid: Path) -> str:
    return "site/rust/Cargo.lock"


def npm(_laid: Path) -> str:
    return "site/web/package-lock.json"


@pytest.mark.parametrize("lay", [program, image, lock, npm])
def test_one_file_of_a_host_is_listed_as_the_command_lists_it(
    lay: Callable[[Path], str], host: Host, laid: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = lay(laid)
    told = by_module(host, laid, path)
    theirs = by_command(monkeypatch, str(laid / path), laid / "theirs")
    assert (laid / "out" / "it.cdx.json").read_bytes() == theirs
    assert told["components"] == len(json.loads(theirs)["components"])
    assert told["exact"] is False, "only cargo's plan of a build is"


def test_a_lock_is_listed_without_cargo_and_a_manifest_stands_for_its_workspace(host: Host, laid: Path) -> None:
    (laid / "site" / "rust" / "Cargo.toml").write_text("this is no manifest\n")
    for path in ("site/rust", "site/rust/Cargo.toml"):
        by_module(host, laid, path, lock_only=True)
        bill = json.loads((laid / "out" / "it.cdx.json").read_bytes())
        assert bill["metadata"]["component"]["name"] == "server"
        refused = host.task("sbom", {"path": path, "chdir": str(laid)})
        assert "cargo tells nothing of this workspace" in refused.msg


def test_an_image_of_the_hosts_daemon_may_be_larger_than_what_a_reply_holds(host: Host, laid: Path) -> None:
    """A program of docker's name stands in for it: what it saves is an archive as docker's."""
    layer = tar_of({"opt/Thing-4.dist-info/METADATA": METADATA, "opt/large": os.urandom(3 << 20)})
    (laid / "saved").write_bytes(saved({"l/layer.tar": layer}))
    docker = laid / "bin" / "docker"
    docker.parent.mkdir()
    docker.write_text(f'#!/bin/sh\n[ "$*" = "save -- app:3" ] && exec cat {laid}/saved\n')
    docker.chmod(0o755)
    args = {"path": "docker:app:3", "dest": str(laid / "out"), "epoch": EPOCH}
    outcome = host.task("sbom", args, environment={"PATH": f"{docker.parent}:{os.environ['PATH']}"})
    assert not outcome.failed, outcome.msg
    assert named(laid / "out" / "app.cdx.json") == {"Thing"}, "an address is no folder of documents"


def test_what_a_path_is_not_is_refused_with_the_path(host: Host, laid: Path) -> None:
    os.mkfifo(laid / "pipe")
    (laid / "cut.tar").write_bytes(b"no archive at all")
    for path, why in {
        "nothing-here": f"{laid}/nothing-here: there is nothing",
        "site/Thing-4.dist-info/METADATA": "METADATA: it is no lock file, no program and no image",
        str(shutil.which("true")): "true: it does not say what it was built of",
        "pipe": f"{laid}/pipe: it is a fifo, and no file",
        "cut.tar": "cut.tar: ",
        "docker:nowhere/no-such-image": "docker saves no image nowhere/no-such-image",
    }.items():
        outcome = host.task("sbom", {"path": path, "chdir": str(laid), "dest": str(laid / "out")})
        assert outcome.failed
        assert why in outcome.msg
    assert not (laid / "out").exists()


def test_an_image_leaves_nothing_behind_and_check_mode_says_what_would_be(host: Host, laid: Path) -> None:
    path = image(laid)
    would = host.task("sbom", {"path": path, "chdir": str(laid)}, check=True)
    assert (would.changed, would.msg) == (True, "the image would be listed")
    by_module(host, laid, path)
    archive = next(one for one in host.asked if type(one).__name__ == "Write" and one.path.endswith("image.tar"))  # type: ignore[union-attr]
    assert not Path(archive.path).parent.exists()  # type: ignore[union-attr]
