"""Verbs on a real host: this machine, through a real session and agent."""

from __future__ import annotations

import base64
import email
import http.server
import os
import platform
import random
import shlex
import shutil
import subprocess
import sys
import tarfile
import threading
import zipfile
from pathlib import Path
from typing import Any

import pytest

from tests.modules.host import Host
from tests.parts.process import wait_for


def done(outcome: object) -> None:
    assert not getattr(outcome, "failed"), outcome  # noqa: B009 - the whole outcome is the message


def git(*words: str, folder: Path) -> str:
    identity = ["-c", "user.name=a", "-c", "user.email=a@example.com", "-c", "init.defaultBranch=main"]
    return subprocess.run(
        ["git", *identity, *words], cwd=folder, capture_output=True, text=True, check=True
    ).stdout.strip()


def test_arguments_arrive_as_written_and_variables_as_python_expands_them(host: Host, tmp_path: Path) -> None:
    """The reference is os.path.expandvars and expanduser, which Ansible's `command` applies to each argument."""
    show = [sys.executable, "-c", "import sys, json; print(json.dumps(sys.argv[1:]))"]
    dice = random.Random(7)
    letters = [
        "$HOME",
        "${PATH}",
        "$NOPE_",
        "${NOPE}",
        "$",
        "{",
        "}",
        "'",
        '"',
        "\\",
        "`id`",
        "$(id)",
        " ",
        "*",
        "ä",
        "\n",
        "a",
    ]
    words = ["".join(dice.choices(letters, k=dice.randint(1, 6))) for _ in range(200)] + [
        "~",
        "~/x",
        "~root/y",
        "a~b",
        "",
    ]
    outcome = host.task("command", {"argv": [*show, *words]}, workdir=str(tmp_path))
    expected = [os.path.expandvars(os.path.expanduser(word)) for word in words]  # noqa: PTH111 - the reference itself
    assert __import__("json").loads(outcome.data["stdout"]) == expected


def test_a_command_is_held_back_by_what_is_there(host: Host, tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    args = {"cmd": f"touch {shlex.quote(str(mark))}", "creates": str(mark)}
    first, second = host.task("command", args), host.task("command", args)
    assert (first.changed, second.changed) == (True, False)
    assert second.msg == f"Did not run command since '{mark}' exists"
    assert host.task("command", args, check=True).msg == f"Would not run command since '{mark}' exists"
    assert host.task("command", {**args, "creates": str(tmp_path / "m*")}, check=True).changed is False


def test_files_come_to_lie_where_ansible_puts_them(host: Host, tmp_path: Path) -> None:
    source = tmp_path / "play" / "files"
    (source / "tree" / "deep").mkdir(parents=True)
    (source / "tree" / "deep" / "large").write_bytes(b"x" * 100_000)
    (source / "tree" / "small").write_text("small")
    (tmp_path / "dir").mkdir()
    search = (str(tmp_path / "play"),)
    for dest in ("dir", "new/", "plain"):
        done(
            host.task(
                "copy", {"src": "tree/small", "dest": str(tmp_path / dest) + "/" * dest.endswith("/")}, search=search
            )
        )
    assert [(tmp_path / name).read_text() for name in ("dir/small", "new/small", "plain")] == ["small"] * 3
    for src, inside in (("tree", "whole/tree"), ("tree/", "content")):
        dest = str(tmp_path / inside.split("/")[0])
        assert host.task("copy", {"src": src, "dest": dest, "mode": "0640"}, search=search).changed
        assert (tmp_path / inside / "deep" / "large").stat().st_size == 100_000
        assert not host.task("copy", {"src": src, "dest": dest, "mode": "0640"}, search=search).changed


def test_what_is_written_can_be_looked_at_edited_and_brought_back(host: Host, tmp_path: Path) -> None:
    path = tmp_path / "f"
    done(host.task("copy", {"content": "a\nb\n", "dest": str(path), "mode": "0640"}))
    seen = host.task("stat", {"path": str(path)}).data["stat"]
    found = path.stat()
    # the SHA-1 of "a\nb\n" by sha1sum
    assert (seen["mode"], seen["size"], seen["checksum"]) == ("0640", 4, "05dec960e24d918b8a73a1c53bcbbaac2ee5c2e0")
    assert (seen["isreg"], seen["rgrp"], seen["wgrp"], seen["inode"]) == (True, True, False, found.st_ino)
    assert host.task("lineinfile", {"path": str(path), "regexp": "^b", "line": "c"}).msg == "line replaced"
    assert host.task("replace", {"path": str(path), "regexp": "^(a)$", "replace": r"\1\1"}).changed
    done(host.task("blockinfile", {"path": str(path), "block": "x"}))
    assert path.read_text() == "aa\nc\n# BEGIN ANSIBLE MANAGED BLOCK\nx\n# END ANSIBLE MANAGED BLOCK\n"
    assert base64.b64decode(host.task("slurp", {"src": str(path)}).data["content"]) == path.read_bytes()
    brought = host.task("fetch", {"src": str(path), "dest": str(tmp_path / "out")}, host="web1")
    assert brought.changed
    assert (tmp_path / "out" / "web1" / str(path).lstrip("/")).read_bytes() == path.read_bytes()
    assert host.task("file", {"path": str(path), "state": "absent"}).changed
    assert not host.task("file", {"path": str(path), "state": "absent"}).changed


def test_a_script_runs_and_leaves_nothing_behind(host: Host, tmp_path: Path) -> None:
    script = tmp_path / "go.py"
    script.write_text(f"#!{sys.executable}\nimport sys\nprint(sys.argv[0]); print(sys.argv[1:])\n")
    outcome = host.task("script", {"cmd": f"{script} one 'two words'"})
    place, words = outcome.data["stdout_lines"]
    assert words == "['one', 'two words']"
    assert not Path(place).exists()


def test_an_archive_is_unpacked_once_and_again_only_when_something_differs(host: Host, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a [1].txt").write_text("one")
    with tarfile.open(tmp_path / "a.tar.gz", "w:gz") as tar:
        tar.add(tmp_path / "in", "top")
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.write(tmp_path / "in" / "a [1].txt", "top/a [1].txt")
    for name in ("a.tar.gz", "a.zip"):
        dest = tmp_path / f"out-{name}"
        dest.mkdir()
        args = {"src": str(tmp_path / name), "dest": str(dest), "list_files": True}
        if name.endswith("zip") and not shutil.which("unzip"):
            pytest.skip("unzip is not installed")
        assert host.task("unarchive", args).changed
        assert (dest / "top" / "a [1].txt").read_text() == "one"
        assert not host.task("unarchive", args).changed, "equal content is no change"
        (dest / "top" / "a [1].txt").write_text("two")
        assert host.task("unarchive", args).changed
        assert (dest / "top" / "a [1].txt").read_text() == "one"


def test_an_archive_cannot_leave_its_folder(host: Host, tmp_path: Path) -> None:
    (tmp_path / "evil").write_text("x")
    (tmp_path / "dest").mkdir()
    for name in ("../out", "/etc/out", "a/../../out"):
        with tarfile.open(tmp_path / "evil.tar", "w") as tar:
            tar.add(tmp_path / "evil", name)

        outcome = host.task("unarchive", {"src": str(tmp_path / "evil.tar"), "dest": str(tmp_path / "dest")})
        assert not (tmp_path / "out").exists()
        assert not Path("/etc/out").exists()
        assert outcome.failed or (tmp_path / "dest").is_dir()


def test_a_clone_follows_branches_tags_and_commits(host: Host, tmp_path: Path) -> None:
    origin = tmp_path / "origin"
    origin.mkdir()
    git("init", "-q", folder=origin)
    commits = []
    for number in (1, 2):
        (origin / "f").write_text(str(number))
        git("add", "f", folder=origin)
        git("commit", "-qm", str(number), folder=origin)
        commits.append(git("rev-parse", "HEAD", folder=origin))
        git("tag", "-a", f"v{number}", "-m", "tag", folder=origin)
    clone = tmp_path / "deep" / "clone"
    args = {"repo": str(origin), "dest": str(clone)}
    first = host.task("git", args)
    assert (first.changed, first.data["before"], first.data["after"]) == (True, None, commits[1])
    assert not host.task("git", args).changed
    for version, expected in (("v1", commits[0]), ("main", commits[1]), (commits[0], commits[0])):
        would = host.task("git", {**args, "version": version}, check=True)
        outcome = host.task("git", {**args, "version": version})
        assert (outcome.changed, outcome.data["after"]) == (True, expected)
        assert (would.changed, would.data["after"]) == (True, expected), "check mode foresaw it"
    (clone / "f").write_text("by hand")
    assert host.task("git", args).msg.startswith("Local modifications exist")
    forced = host.task("git", {**args, "force": True})
    assert (forced.changed, (clone / "f").read_text()) == (True, "2")
    assert "nope" in host.task("git", {**args, "version": "nope"}).msg


def test_facts_are_those_of_this_machine(host: Host) -> None:
    """The reference is Python's own platform module and the kernel's files."""
    facts = host.task("setup", {}).facts
    release = platform.freedesktop_os_release()
    assert facts["ansible_kernel"] == platform.release()
    assert facts["ansible_nodename"] == platform.node()
    assert facts["ansible_distribution_version"] == release["VERSION_ID"]
    assert facts["ansible_processor_vcpus"] == os.cpu_count()
    pages = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2**20
    assert abs(facts["ansible_memtotal_mb"] - pages) <= 1
    assert facts["ansible_user_uid"] == os.geteuid()
    assert facts["ansible_env"]["PATH"]
    assert len(host.asked) == 1, "one round trip"


def test_addresses_are_found_where_the_host_has_no_ip_program(host: Host, tmp_path: Path) -> None:
    """The kernel's own tables say the same as `ip`, but for addresses of interfaces that are down, once no other test
    makes or removes a bridge while they are read: the kernel tells them piece by piece."""
    if not shutil.which("ip"):
        pytest.skip("ip (iproute2) is not installed, so there is nothing to compare with")
    for name in ("cat", "uname", "id", "date", "grep", "df", "env", "sh"):
        (tmp_path / name).symlink_to(str(shutil.which(name)))
    wish = {"gather_subset": ["network"], "filter": ["all_ipv*", "default_ipv4"]}
    names = ("ansible_all_ipv4_addresses", "ansible_all_ipv6_addresses")

    def read() -> list[dict[str, Any]]:
        return [host.task("setup", wish, environment=env).facts for env in ({}, {"PATH": str(tmp_path)})]

    def agreed() -> list[dict[str, Any]]:
        full, bare = read()
        words = subprocess.run(["ip", "-o", "addr", "show", "up"], capture_output=True, text=True, check=True).stdout
        up = {word.partition("/")[0] for word in words.split()}
        same = (set(full[name]) & up <= set(bare[name]) <= set(full[name]) for name in names)
        return [full, bare] if all(same) else []

    full, bare = wait_for(agreed, "both say the same", told=lambda: str(read()))
    for key in ("interface", "gateway", "address", "macaddress"):
        assert bare["ansible_default_ipv4"].get(key) == full["ansible_default_ipv4"].get(key)


def test_a_signature_holds_for_openssl_and_the_key_is_for_nobody_else(host: Host, tmp_path: Path) -> None:
    artifact = tmp_path / "server"
    artifact.write_bytes(os.urandom(1000))
    args = {"path": str(artifact), "key": "keys/k.pem", "passphrase_file": "keys/k.pass", "create_key": True}
    outcome = host.task("sign", args, search=(str(tmp_path),))
    done(outcome)
    bundle = __import__("json").loads(Path(outcome.data["bundle"]).read_bytes())
    (tmp_path / "sig").write_bytes(base64.b64decode(bundle["messageSignature"]["signature"]))
    public = tmp_path / "keys" / "k.pem.pub"
    argv = ["openssl", "dgst", "-sha256", "-verify", str(public), "-signature", str(tmp_path / "sig"), str(artifact)]
    assert subprocess.run(argv, capture_output=True, text=True, check=True).stdout == "Verified OK\n"
    assert [(tmp_path / "keys" / name).stat().st_mode & 0o777 for name in ("k.pem", "k.pass")] == [0o600, 0o600]
    assert b"ENCRYPTED" in (tmp_path / "keys" / "k.pem").read_bytes()
    assert not host.task("sign", args, search=(str(tmp_path),)).changed, "what is signed well stays"
    assert not any(b"PRIVATE" in getattr(operation, "stdin", b"") for operation in host.asked)
    artifact.write_bytes(b"another")
    assert host.task("sign", args, search=(str(tmp_path),)).changed
    (tmp_path / "keys" / "k.pem").chmod(0o644)
    assert "can be read by others" in host.task("sign", args, search=(str(tmp_path),)).msg


def test_a_form_with_files_arrives_as_it_was_meant(host: Host, tmp_path: Path) -> None:
    """What reads it is the standard library's parser of MIME."""
    came: list[tuple[str, bytes]] = []

    class Server(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            came.append((self.headers["Content-Type"], self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(201)
            self.end_headers()

    (tmp_path / "files").mkdir()
    (tmp_path / "files" / "logo.png").write_bytes(bytes(range(256)))
    body = {
        "title": "a title",
        "logo": {"filename": "logo.png", "mime_type": "image/png"},
        "note": {"content": "text", "filename": "note.txt", "multipart_encoding": "base64"},
    }
    with http.server.HTTPServer(("127.0.0.1", 0), Server) as server:
        threading.Thread(target=server.handle_request, daemon=True).start()
        args = {"url": f"http://127.0.0.1:{server.server_port}/", "method": "POST", "status_code": [200, 201]}
        done(host.task("uri", {**args, "body": body, "body_format": "form-multipart"}, search=(str(tmp_path),)))
    kind, sent = came[0]
    parsed = email.message_from_bytes(b"Content-Type: " + kind.encode() + b"\r\n\r\n" + sent)
    parts = [
        (part.get_param("name", header="content-disposition"), part.get_filename(), part.get_payload(decode=True))
        for part in parsed.walk()
        if not part.is_multipart()
    ]
    assert parts == [
        ("title", None, b"a title"),
        ("logo", "logo.png", bytes(range(256))),
        ("note", "note.txt", b"text"),
    ]


@pytest.fixture
def origin(tmp_path: Path) -> Path:
    """A repository with one commit on its branch and another that only refs/changes/1 leads to."""
    folder = tmp_path / "origin"
    folder.mkdir()
    git("init", "--quiet", folder=folder)
    (folder / "file").write_text("one")
    git("add", ".", folder=folder)
    git("commit", "--quiet", "-m", "one", folder=folder)
    (folder / "file").write_text("two")
    git("commit", "--quiet", "-a", "-m", "two", folder=folder)
    git("update-ref", "refs/changes/1", "HEAD", folder=folder)
    git("reset", "--quiet", "--hard", "HEAD~1", folder=folder)
    return folder


def test_a_commit_of_no_branch_is_fetched_by_its_ref(host: Host, origin: Path, tmp_path: Path) -> None:
    commit = git("rev-parse", "refs/changes/1", folder=origin)
    args = {"repo": f"file://{origin}", "dest": str(tmp_path / "clone"), "version": commit}
    assert host.task("git", args).failed
    shutil.rmtree(tmp_path / "clone", ignore_errors=True)
    done(host.task("git", {**args, "refspec": "refs/changes/1"}))
    assert (tmp_path / "clone" / "file").read_text() == "two"
    assert not host.task("git", {**args, "refspec": "refs/changes/1"}).changed


def test_an_archive_of_the_version_is_made_once(host: Host, origin: Path, tmp_path: Path) -> None:
    archive = tmp_path / "out.tar.gz"
    args = {"repo": str(origin), "dest": str(tmp_path / "clone"), "archive": str(archive), "archive_prefix": "app/"}
    assert host.task("git", {**args, "umask": "077"}).changed
    assert not host.task("git", args).changed
    assert archive.stat().st_mode & 0o777 == 0o600
    with tarfile.open(archive) as tar:
        assert tar.getnames() == ["app", "app/file"]
    archive.unlink()
    assert host.task("git", args).changed
    assert "unsupported" in host.task("git", {**args, "archive": str(tmp_path / "out.rar")}).msg


def test_a_commit_that_nobody_signed_is_refused(host: Host, origin: Path, tmp_path: Path) -> None:
    args = {"repo": str(origin), "dest": str(tmp_path / "clone"), "verify_commit": True}
    assert host.task("git", args).failed
    assert not (tmp_path / "clone" / "file").exists()


def test_links_in_a_folder_become_what_they_lead_to_or_stay_links(host: Host, tmp_path: Path) -> None:
    """As Ansible's `copy`, by its `local_follow`; a link to a folder above doesn't go round in a circle."""
    tree = tmp_path / "files" / "tree"
    (tree / "deep").mkdir(parents=True)
    (tree / "deep" / "file").write_text("here")
    (tree / "folder").symlink_to("deep")
    (tree / "link").symlink_to("deep/file")
    search = (str(tmp_path),)
    for name, more in (("follow", {}), ("keep", {"local_follow": False})):
        args = {"src": "tree/", "dest": str(tmp_path / name), **more}
        assert host.task("copy", args, search=search).changed
        assert not host.task("copy", args, search=search).changed
        there = {"src": f"{tree}/", "dest": str(tmp_path / f"{name}2"), "remote_src": True, **more}
        assert host.task("copy", there).changed
        assert not host.task("copy", there).changed
    for followed in (tmp_path / "follow", tmp_path / "follow2"):
        assert not (followed / "folder").is_symlink()
        assert [(followed / path).read_text() for path in ("folder/file", "link")] == ["here", "here"]
        assert not (followed / "link").is_symlink()
    for kept in (tmp_path / "keep", tmp_path / "keep2"):
        assert [str((kept / path).readlink()) for path in ("folder", "link")] == ["deep", "deep/file"]
    (tree / "nowhere").symlink_to("nope")
    (tree / "round").symlink_to(".")
    outcome = host.task("copy", {"src": "tree/", "dest": str(tmp_path / "bad")}, search=search)
    assert outcome.failed
    assert "leads to nope, where nothing is" in outcome.msg
