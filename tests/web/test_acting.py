"""What one does on the page is what the commands do, while a real rollout goes on, and is recorded with who it was."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from ciflow.model import Event
from tests.e2e.service import Service, finish
from tests.e2e.test_people import ASKING
from tests.web.server import ADA, HOOK, WALL, Listening, Server, serving, signed, wait, written

ASKED = {"prompt": "Ship it?", "until": 0, "approvers": []}


pytestmark = pytest.mark.xdist_group("web")


def by_cookie(server: Server) -> dict[str, str]:
    """As the page's own script asks."""
    return {"token": "", "Cookie": server.cookie(), "X_Ciflow": "1", "Origin": server.url[:-1]}


def test_a_rollout_is_paused_taken_on_and_rolled_back(production: Service, released: Server) -> None:
    version, before = production.next(), production.live()
    listening = Listening(released, "?kinds=canary_state,rollback,run_ended")
    with production.no_request_fails():
        release = production.apply(version, hold="5m", deadline="30m")
        run = production.until(version, "holding", 2500).run
        assert "Pause" in released.ask("/").text and version in released.ask("/").text
        assert released.act("/api/services/shield/pause", {"run": run}, **by_cookie(released)).json()["exit"] == 0
        production.until(version, "paused", 2500)
        wait(lambda: "Go on" in released.ask("/").text, "the page shows the pause")
        assert released.act("/api/services/shield/resume", {"run": run}).status == 200
        assert released.act("/api/services/shield/promote", {"run": run}).status == 200
        production.until(version, "holding", 5000)
        done = released.act("/api/services/shield/rollback", {"reason": "it is slow"}, **by_cookie(released)).json()
        assert done["exit"] == 0 and "verified by its own counters" in "\n".join(done["lines"])
        code, said = finish(release)
    assert code == 6, said
    assert production.live() == before
    said_by = [(e.data["verb"], e.data["by"], e.data["way"]) for e in production.events("command") if e.run == run]
    assert said_by == [("pause", "ada", "page"), ("resume", "ada", "API"), ("promote", "ada", "API")]
    (back,) = production.events("rollback")
    assert (back.data["who"], back.data["way"], back.data["reason"]) == ("ada", "page", "it is slow")
    heard = listening.take(5)
    states = [one["data"].get("state") for _, one in heard if one["kind"] == "canary_state"]
    assert states[:2] == ["deploying", "verifying"]
    listening.close()
    again = released.act("/api/services/shield/rollback").json()
    assert again["exit"] == 0 and "nothing to do" in again["lines"][0]
    assert "rolled back" in production.ciflow("history", "shield")[1]
    assert "through the page" in production.ciflow("logs", back.run)[1]
    assert "ada (page): " in released.said


@pytest.mark.slow
def test_a_tap_meant_for_another_rollout_is_not_for_this_one(production: Service, released: Server) -> None:
    version = production.next()
    release = production.apply(version, hold="5m", deadline="30m")
    run = production.until(version, "holding", 2500).run
    found = released.act("/api/services/shield/abort", {"run": "R-1-0000000000"})
    assert found.status == 404 and run in found.json()["error"]
    assert released.act("/api/services/shield/pause", {"full": True}).status == 409
    assert released.act("/api/services/nobody/pause").status == 404
    assert not [e for e in production.events("command") if e.run == run]
    assert released.act("/api/services/shield/abort", {"run": run}).status == 200
    code, said = finish(release)
    assert code == 7 and "aborted by ada" in said, said


def test_a_rehearsal_turns_nothing(production: Service, released: Server) -> None:
    live, known = production.live(), len(production.events("rollback"))
    done = released.act("/api/services/shield/rollback", {"rehearse": True}).json()
    assert done["exit"] == 0 and len(production.events("rollback")) == known
    assert production.live() == live


@pytest.mark.slow
def test_questions_are_answered_from_the_page_and_by_a_webhook(production: Service, released: Server) -> None:
    version = production.next()
    path = production.write("asking.yml")
    path.write_text(path.read_text() + "".join(ASKING.format(name=one, home=production.home) for one in "AB"))
    release = production.apply(version, playbook="asking.yml", bake="0s")
    asked = wait(lambda: found if len(found := released.ask("/api/approvals").json()) == 2 else None, "two questions")
    a, b = (next(one for one in asked if one["prompt"] == f"{name} it?") for name in "AB")
    assert "(2 waiting)" in released.ask("/").text and "A it?" in released.ask("/").text
    no = {"run": b["run"], "play": b["play"], "yes": False, "reason": "not today"}
    assert released.act("/api/approvals", no, **by_cookie(released)).json()["lines"][0] == "refused: B it?"
    body = json.dumps({"run": a["run"], "play": a["play"], "yes": True, "reason": "OPS-7"}).encode()
    hook = released.ask("/api/hooks/jira", "", method="POST", body=body, **signed(body, "msg_1", time.time()))
    assert hook.status == 200 and hook.json()["lines"][0] == "approved: A it?"
    assert released.ask("/api/approvals").json() == []
    code, said = finish(release)
    assert code == 4 and "A" in production.ran(version) and "B" not in production.ran(version), said
    given = {
        (e.data["by"], e.data["way"], e.data["yes"], e.data["reason"]) for e in production.events("approval_given")
    }
    assert given == {("ada", "page", False, "not today"), ("jira", "webhook", True, "OPS-7")}
    assert production.ciflow("rollback", "shield")[0] == 0


# --- answers, without a run ---------------------------------------------------------------------------------------


@pytest.fixture
def asking(tmp_path: Path) -> Iterator[Server]:
    """A run that was interrupted while two plays waited, one of them for ada alone."""
    told = [
        Event(kind="run_started", run="R-1", data={"playbook": "x.yml", "who": "bob", "request": {}}),
        Event(kind="approval_wanted", run="R-1", play="ship", data=ASKED),
        Event(kind="approval_wanted", run="R-1", play="late", data={**ASKED, "until": 1.0}),
        Event(kind="approval_wanted", run="R-1", play="sign", data={**ASKED, "approvers": ["grace"]}),
        Event(kind="run_ended", run="R-1", data={"exit": 130, "result": "interrupted"}),
    ]
    written(tmp_path / "state", told)
    with serving(tmp_path) as found:
        yield found


def test_only_whom_the_play_names_may_answer_and_only_what_still_waits(asking: Server) -> None:
    assert [one["play"] for one in asking.ask("/api/approvals").json()] == ["sign", "ship"], "one is too late"
    found = asking.act("/api/approvals", {"run": "R-1", "play": "sign", "yes": True})
    assert found.status == 409 and "ada is no approver of sign" in found.json()["error"]
    for said in ({"yes": True}, {"run": "", "play": "ship", "yes": True}, {"run": "R-1", "play": "ship", "yes": "yes"}):
        assert asking.act("/api/approvals", said).status == 409
    assert asking.act("/api/approvals", {"run": "R-2", "play": "ship", "yes": True}).status == 404
    done = asking.act("/api/approvals", {"run": "R-1", "play": "ship", "yes": True}).json()
    assert done["lines"] == ["approved: Ship it?", "R-1 is interrupted: `ciflow resume R-1` goes on by it"]
    assert asking.act("/api/approvals", {"run": "R-1", "play": "ship", "yes": True}).status == 404


def test_a_webhook_is_taken_once_and_only_as_it_was_signed(asking: Server) -> None:
    body = json.dumps({"run": "R-1", "play": "ship", "yes": True}).encode()
    other = body.replace(b"true", b"false")

    def sent(body: bytes, headers: dict[str, str], name: str = "jira") -> int:
        return asking.ask(f"/api/hooks/{name}", "", method="POST", body=body, **headers).status

    now = time.time()
    good = signed(body, "msg_7", now)
    assert sent(other, good) == 401, "the body is signed"
    assert sent(body, {**good, "webhook_id": "msg_8"}) == 401, "the id is signed"
    assert sent(body, {**good, "webhook_timestamp": str(int(now) + 1)}) == 401, "the time is signed"
    assert sent(body, signed(body, "msg_7", now, secret="bm90IHRoZSBzZWNyZXQgb2YgamlyYQ==")) == 401
    assert sent(body, {}) == 401 and sent(body, good, "nobody") == 401 and sent(body, good, "ada") == 401
    assert sent(body, signed(body, "msg_7", now - 400)) == 401, "it is old"
    assert sent(body, signed(body, "msg_7", now + 400)) == 401, "it is of another clock"
    assert sent(body, signed(body, "msg_7", now - 60)) == 401, "it was signed before the server began"
    assert sent(body, signed(body, "a\tb", now)) == 401
    assert asking.ask("/api/approvals").json()[1]["play"] == "ship", "nothing was done by any of it"
    assert sent(body, {**good, "webhook_signature": f"v1,xxxx v2,yyyy {good['webhook_signature']}"}) == 200
    assert sent(body, good) == 409, "a replay"
    bearer = asking.ask("/api/hooks/jira", ADA, method="POST", body=body, **signed(body, "msg_9", now))
    assert bearer.status == 404, "it is signed well, and nothing waits any more"


def test_a_webhook_does_nothing_but_answer(asking: Server) -> None:
    for place in ("/api/services/shield/rollback", "/api/services/shield/abort", "/api/approvals"):
        body = b"{}"
        found = asking.ask(place, "", method="POST", body=body, **signed(body, "msg_1", time.time()))
        assert found.status == 401


def test_a_rollback_that_can_t_be_done_says_why(asking: Server) -> None:
    found = asking.act("/api/services/nobody/rollback")
    assert found.status == 404 and "nothing was released as nobody from here" in found.json()["error"]
    assert asking.act("/api/services/nobody/rollback", token=WALL).status == 403
    assert HOOK not in asking.said and ADA not in asking.said
