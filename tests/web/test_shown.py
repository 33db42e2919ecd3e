"""The page and its API show what the commands print, and nothing of their own."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from ciflow.model import Event
from ciflow.store.store import Store
from tests.report.story import release
from tests.web.server import WALL, Server, serving, wait, written


def printed(page: Server, *words: str) -> list[Any]:
    argv = [sys.executable, "-m", "ciflow", *words, "--json", "--state", str(page.state)]
    done = subprocess.run(argv, capture_output=True, text=True, check=True)
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_the_api_gives_what_the_commands_print(page: Server) -> None:
    assert page.ask("/api/status").json() == printed(page, "status")[0]
    assert page.ask("/api/runs").json() == printed(page, "history")
    assert page.ask("/api/services/shield/history").json() == printed(page, "history", "shield")
    assert page.ask("/api/runs/R-12").json() == printed(page, "show", "R-12")[0]
    assert page.ask("/api/runs/R-13/log").json() == {"events": printed(page, "logs", "R-13"), "next": None}
    ended = page.ask("/api/runs/R-13/log?task=1&host=web2").json()["events"]
    assert [(one["host"], one["kind"]) for one in ended] == [("web2", "task_ended")]


def test_a_token_that_may_look_sees_all_and_is_offered_nothing_to_do(page: Server) -> None:
    for place in ("/", "/runs/R-12", "/services/shield"):
        found = page.ask(place, WALL)
        assert found.status == 200 and "<button" not in found.text
    assert "ciflow rollback shield" in page.ask("/", WALL).text


def test_the_way_back_is_the_first_thing_of_a_service(page: Server) -> None:
    article = page.ask("/").text.partition('aria-labelledby="service-shield"')[2]
    first = article.index('<button class="act back" type="button" id="back-shield"')
    assert first < article.index("<table")


def test_a_run_shows_its_plays_its_dial_and_what_it_left(page: Server) -> None:
    found = page.ask("/runs/R-12").text
    for text in ("212 passed, 1 flaky", "shield 1.4.0", "1 %", "server.cdx.json", "9f2c0000"):
        assert text in found


def test_what_a_task_printed_is_shown_by_host(page: Server) -> None:
    found = page.ask("/runs/R-13/output?play=p&task=1").text
    assert found.index("web2") < found.index("web1"), "those that failed come first"
    assert "port 8080 is already in use by nginx" in found


def test_what_is_not_there_is_said(page: Server) -> None:
    for place in ("/runs/R-99", "/runs/R-1", "/services/nobody", "/runs/R-12/output?play=x&task=y", "/nothing"):
        assert page.ask(place).status == 404
    for place in ("/api/runs/R-99", "/api/services/nobody/history", "/api/artifacts/" + "0" * 64):
        found = page.ask(place)
        assert found.status == 404 and found.json()["exit"] == 3


def test_before_the_first_run_it_waits_for_one(tmp_path: Path) -> None:
    with serving(tmp_path) as page:
        assert "Nothing was released from here yet" in page.ask("/").text
        assert page.ask("/api/status").status == 404
        written(page.state, release().events)
        wait(lambda: "back-shield" in page.ask("/").text, "the service")


def test_a_journal_that_breaks_and_comes_back_is_said(tmp_path: Path) -> None:
    written(tmp_path / "state", release().events)
    with serving(tmp_path) as page:
        assert page.ask("/api/status").status == 200
        (tmp_path / "state" / "journal.db").rename(tmp_path / "aside")
        (tmp_path / "state" / "journal.db-wal").unlink(missing_ok=True)
        (tmp_path / "state" / "journal.db").write_bytes(b"no journal at all" * 1000)
        wait(lambda: page.ask("/api/runs").status in (200, 503), "an answer")
        (tmp_path / "aside").replace(tmp_path / "state" / "journal.db")
        wait(lambda: page.ask("/api/runs").status == 200, "it came back")


def test_an_artifact_is_a_download_and_never_a_page(tmp_path: Path) -> None:
    from ciflow.store.artifacts import open_shelf

    content = b"<script>alert(1)</script>" * 100_000
    with Store.open(tmp_path / "state") as store:
        store.append(release().events)
        shelf = open_shelf(store.path)
        (tmp_path / "x.html").write_bytes(content)
        digest = shelf.put_file(tmp_path / "x.html")
        shelf.name('../"x.html\r\nSet-Cookie: a=b', digest, {})
    with serving(tmp_path) as page:
        (entry,) = page.ask("/api/artifacts").json()
        found = page.ask(f"/api/artifacts/{entry['digest']}", WALL)
        assert found.body == content and entry["digest"] == digest
        assert found.headers["content-type"] == "application/octet-stream"
        assert found.headers["x-content-type-options"] == "nosniff"
        assert found.headers["content-disposition"].startswith("attachment; filename*=UTF-8''")
        assert (
            "set-cookie" not in found.headers and "/" not in found.headers["content-disposition"].partition(";")[2][18:]
        )
        assert page.ask(f"/api/artifacts/{digest}", "").status == 401


def test_what_is_masked_in_the_journal_is_masked_here(tmp_path: Path) -> None:
    """A real run, whose secret is in a vault and in output that `no_log` hides."""
    secret = "hunter2-of-the-vault"
    (tmp_path / "site.yml").write_text(
        "- hosts: localhost\n  tasks:\n"
        f"    - {{name: hidden, no_log: true, command: echo {secret}}}\n"
        "    - {name: shown, command: echo visible}\n"
    )
    argv = [sys.executable, "-m", "ciflow", "apply", str(tmp_path / "site.yml"), "--state", str(tmp_path / "state")]
    subprocess.run(argv, check=True, capture_output=True)
    with serving(tmp_path) as page:
        run = page.ask("/api/runs").json()[0]["run"]
        log = page.ask(f"/api/runs/{run}/log").json()["events"]
        tasks = [(event["play"], event["task"]) for event in log if event["kind"] == "task_ended"]
        places = [f"/runs/{run}/output?play={play}&task={task}" for play, task in tasks]
        texts = [page.ask(place).text for place in ("/", f"/runs/{run}", f"/api/runs/{run}/log", *places)]
        assert len(tasks) == 2 and not [text for text in texts if secret in text]
        assert "visible" in "".join(texts)


@pytest.mark.parametrize("kind", ["op_sent", "op_reply", "rendered", "snapshot"])
def test_what_a_run_says_to_its_hosts_is_not_shown(page: Server, kind: str) -> None:
    assert all(event["kind"] != kind for event in page.ask("/api/runs/R-12/log").json()["events"])


def test_a_team_s_journal_is_shown_too(tmp_path: Path, postgres: Any) -> None:
    from ciflow.store.place import Team

    url = postgres.database()
    with Store.open(Team(url)) as store:
        store.append(release().events)
    with serving(tmp_path, "--state", url) as page:
        assert "back-shield" in page.ask("/").text
        with Store.open(Team(url)) as store:
            store.append([Event(kind="annotation", run="R-12", data={"by": "ada", "reason": "a word"})])
        wait(lambda: "a word" in page.ask("/runs/R-12").text, "what was added")
