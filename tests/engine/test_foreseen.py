"""Check mode foresees: what would be done is said to change, fails nowhere, and nothing is touched."""

from __future__ import annotations

import grp
import os
import pwd
import shutil
import subprocess
import tarfile
from pathlib import Path

from tests.engine.playing import Bench, Played

ME, MINE = pwd.getpwuid(os.geteuid()).pw_name, grp.getgrgid(os.getegid()).gr_name
OWNED = f"owner: {ME}, group: {MINE}"
# Each makes something where nothing was, in one operation or several, and would find it done the second time.
TASKS = {
    "content": f'copy: {{content: x, dest: "{{here}}/out/content", mode: "0600", {OWNED}}}',
    "source": 'copy: {src: "{here}/source.txt", dest: "{here}/out/deep/"}',
    "tree": 'copy: {src: "{here}/tree", dest: "{here}/out/tree", directory_mode: "0750"}',
    "tree there": 'copy: {src: "{here}/tree", dest: "{here}/out/tree_there", remote_src: true}',
    "template": f'template: {{src: "{{here}}/source.txt", dest: "{{here}}/out/template", mode: "0640", {OWNED}}}',
    "folder": f'file: {{path: "{{here}}/out/a/b", state: directory, mode: "0700", {OWNED}}}',
    "touch": f'file: {{path: "{{here}}/out/touched", state: touch, mode: "0600", {OWNED}, modification_time: preserve, '
    "access_time: preserve}",
    "link": f'file: {{src: "{{here}}/source.txt", dest: "{{here}}/out/link", state: link, {OWNED}}}',
    "hard link": f'file: {{src: "{{here}}/source.txt", dest: "{{here}}/out/hard", state: hard, {OWNED}}}',
    "line": f'lineinfile: {{path: "{{here}}/out/line", line: x, create: true, mode: "0600", {OWNED}}}',
    "block": f'blockinfile: {{path: "{{here}}/out/block", block: x, create: true, mode: "0600", {OWNED}}}',
    "assemble": f'assemble: {{src: "{{here}}/tree", dest: "{{here}}/out/assembled", mode: "0600", {OWNED}}}',
    "unarchive": f'unarchive: {{src: "{{here}}/tree.tar", remote_src: true, dest: "{{here}}/unpacked", {OWNED}}}',
    "clone": 'git: {repo: "{here}/origin", dest: "{here}/out/clone"}',
    "download": f'get_url: {{url: "file://{{here}}/source.txt", dest: "{{here}}/out/got", mode: "0600", {OWNED}}}',
    "fetch": 'fetch: {src: "{here}/source.txt", dest: "{here}/out/fetched/"}',
    "known host": 'known_hosts: {name: web1, key: "web1 {key}", path: "{here}/out/known_hosts"}',
    "authorized key": f'authorized_key: {{user: {ME}, key: "{{key}}", path: "{{here}}/out/ssh/authorized_keys"}}',
}
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIIRWUYJOJKkN5sFlZMxHSQoRXyPqVTJZ2Pl3CI5a9Bl1"


def prepare(folder: Path) -> None:
    (folder / "source.txt").write_text("text\n")
    (folder / "unpacked").mkdir()
    (folder / "tree/deep").mkdir(parents=True)
    for name in ("one", "deep/two"):
        (folder / "tree" / name).write_text(name)
    with tarfile.open(folder / "tree.tar", "w") as archive:
        archive.add(folder / "tree", "tree")
    git = [str(shutil.which("git")), "-c", "user.name=a", "-c", "user.email=a@b"]
    for words in (["init", "-q"], ["commit", "-q", "--allow-empty", "-m", "one"]):
        subprocess.run([*git, *words], cwd=_made(folder / "origin"), check=True)


def _made(folder: Path) -> Path:
    folder.mkdir(exist_ok=True)
    return folder


def stand(folder: Path) -> list[tuple[str, int, int]]:
    """All that is there, with its modes and times."""
    paths = sorted(path for part in ("out", "unpacked") for path in (folder / part).rglob("*"))
    return [(str(path), path.lstat().st_mode, path.lstat().st_mtime_ns) for path in paths]


def unlike(played: Played, status: str) -> dict[str, tuple[str, str]]:
    """Tasks that came to something else, and why."""
    return {name: (found, str(played.msg(name))) for name, found in played.ends() if found != status}


def test_what_would_be_made_is_foreseen_then_made_then_found(bench: Bench) -> None:
    prepare(bench.folder)
    bench.hosts("web1 ansible_connection=local\n")
    lines = [f"    - {{name: {name}, {task}}}".replace("{key}", KEY) for name, task in TASKS.items()]
    play = "\n".join(["- hosts: all", "  ignore_errors: true", "  tasks:", *lines, ""])
    before = stand(bench.folder)
    assert unlike(bench.play(play, options={"check": True}), "changed") == {}
    assert stand(bench.folder) == before
    assert unlike(bench.play(play), "changed") == {}
    after = stand(bench.folder)
    assert unlike(bench.play(play, options={"check": True}), "ok") == {}
    assert stand(bench.folder) == after
