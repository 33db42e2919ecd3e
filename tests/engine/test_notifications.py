"""Whom a playbook notifies hears of a run what they want to, from real receivers, and the run never suffers by it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from ciflow.diagnostics import Invalid
from ciflow.engine.request import Request
from ciflow.engine.start import apply
from ciflow.lang.shipped import shipped
from ciflow.store.store import Store
from tests.engine.playing import Bench, Played
from tests.parts.receivers import Web, web

PLAYS = """
    plays:
      - name: Ship
        hosts: localhost
        gather_facts: false
        tasks:
          - name: Try
            shell: "{{ cmd | default('true') }}"
"""


@pytest.fixture(scope="module")
def server() -> Iterator[Web]:
    with web() as made:
        yield made


@pytest.fixture
def bench(tmp_path: Path, server: Web) -> Bench:
    server.got.clear()
    return Bench(tmp_path)


def play(bench: Bench, told: str, *extra: str, plays: str = PLAYS, **options: bool) -> Played:
    text = f"    name: Shop\n    notifications:\n{told}{plays}"
    return bench.play(text, extra=extra, options=options)


def warnings(played: Played) -> list[str]:
    return [str(event.data["message"]) for event in played.of("warning")]


def test_a_kind_and_an_address_are_enough_to_hear_of_failures_and_of_the_first_success_after_them(
    bench: Bench, server: Web
) -> None:
    told = f"      - {{to: webhook, url: {server.url}/hook}}\n"
    for cmd, heard in [
        ("true", []),
        ("false", ["failed"]),
        ("false", ["failed"]),
        ("true", ["recovered"]),
        ("true", []),
    ]:
        server.got.clear()
        play(bench, told, f"cmd={cmd}")
        assert server.events("/hook") == heard, cmd


def test_who_hears_of_every_success_hears_it_once(bench: Bench, server: Web) -> None:
    told = f"      - {{to: webhook, url: {server.url}/hook, on: [started, failed, succeeded]}}\n"
    play(bench, told, "cmd=false")
    play(bench, told)
    assert server.events("/hook") == ["started", "failed", "started", "succeeded"]


def test_a_failure_says_what_failed_where_and_what_to_type(bench: Bench, server: Web) -> None:
    played = play(bench, f"      - {{to: webhook, url: {server.url}/hook}}\n", '{"cmd": "echo out of it; exit 3"}')
    (event,) = [one.json for one in server.got]
    assert (event["exit"], event["playbook"], event["run"], event["who"]) == (4, "Shop", played.run, "ann")
    assert event["failures"] == [
        {"task": "Try", "hosts": ["localhost"], "message": "non-zero return code 3", "cause": ""}
    ]
    assert event["title"] == "Shop failed" and "Try on localhost" in event["text"]
    assert event["next"] == f"ciflow resume {played.run}" and event["id"] == f"{played.run}:failed:1"


def test_nothing_is_sent_of_a_playbook_with_a_fault(bench: Bench, server: Web) -> None:
    told = f"      - {{to: webhook, url: {server.url}/hook, on: [started]}}\n"
    with pytest.raises(Invalid):
        play(bench, told, plays=PLAYS.replace("shell:", "shel:"))
    assert server.got == []


def test_a_check_sends_nothing_and_says_who_would_hear_of_what(bench: Bench, server: Web) -> None:
    played = play(bench, f"      - {{to: webhook, url: {server.url}/hook, on: [started, failed]}}\n", check=True)
    assert server.got == []
    (event,) = played.of("notified")
    assert event.data["on"] == ["started", "failed"] and event.data["sent"] is False and event.data["check"]


def test_nobody_is_told_of_a_run_that_is_nobody_s_business(bench: Bench, server: Web) -> None:
    told = f"      - {{to: webhook, url: {server.url}/hook, on: [started, failed]}}\n"
    run = play(bench, told, "cmd=false", no_notify=True).run
    bench.resume(run)
    assert server.got == []


def test_what_came_of_each_message_is_recorded(bench: Bench, server: Web) -> None:
    played = play(bench, f"      - {{to: webhook, url: {server.url}/hook, on: [started, succeeded]}}\n")
    with Store.open(bench.store) as store:
        recorded = [event.data for event in store.events(run=played.run, kinds=("notified",))]
    assert [(one["on"], one["sent"], one["answer"]) for one in recorded] == [
        ("started", True, "200 OK"),
        ("succeeded", True, "200 OK"),
    ]


@pytest.mark.parametrize("manner", ["500", "404", "reset", "away"])
def test_a_receiver_that_refuses_is_said_once_and_the_run_goes_well(bench: Bench, server: Web, manner: str) -> None:
    told = f"      - {{to: webhook, url: {server.url}/{manner}/a-secret-of-ours, on: [started, succeeded]}}\n"
    played = play(bench, told)
    assert played.exit == 0
    (said,) = warnings(played)
    assert said.startswith(f"webhook {server.url.removeprefix('http://')} was not told that Shop started")
    assert len(played.of("notified")) == 2


def test_who_answers_a_moment_later_is_told_once(bench: Bench, server: Web) -> None:
    play(bench, f"      - {{to: webhook, url: {server.url}/twice/a, on: [succeeded]}}\n")
    one, two = server.of("/twice/a")
    assert one.headers["webhook-id"] == two.headers["webhook-id"]


def test_each_receiver_waits_for_itself_alone(bench: Bench, server: Web) -> None:
    told = f"      - {{to: webhook, url: {server.url}/hang/a, on: [started]}}\n"
    played = play(bench, told + f"      - {{to: webhook, url: {server.url}/hook, on: [started]}}\n")
    assert server.events("/hook") == ["started"] and played.exit == 0
    assert "no answer" in warnings(played)[0]


def test_an_address_that_the_environment_lacks_is_said_before_anything_runs(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("NO_SUCH_HOOK", raising=False)
    told = """      - {to: slack, url: "{{ lookup('env', 'NO_SUCH_HOOK') }}", on: [started]}\n"""
    played = play(bench, told)
    assert played.exit == 0 and warnings(played) == ["nobody is told by slack: `url` is empty"]
    kinds = [event.kind for event in played.events]
    assert kinds.index("warning") < kinds.index("task_ended")


# --- secrets -------------------------------------------------------------------------------------------


def test_addresses_and_keys_appear_in_no_event(bench: Bench, server: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOOK", f"{server.url}/404/from-the-environment-123")
    told = f"""
      - to: webhook
        url: {server.url}/404/written-in-the-playbook-1
        secret: whsec_c2lnbmluZ19rZXk=
        on: started
      - to: webhook
        url: "{{{{ lookup('env', 'HOOK') }}}}"
        headers: {{Authorization: Bearer a-token-of-ours}}
        on: started
"""
    plays = """
    plays:
      - name: Ship
        hosts: localhost
        gather_facts: false
        tasks:
          - {name: Show, shell: "echo 'Bearer a-token-of-ours' /404/written-in-the-playbook-1; env; exit 1"}
"""
    played = play(bench, told, plays=plays)
    assert len(server.got) == 2 and played.exit == 4
    with Store.open(bench.store) as store:
        every = [event.data for event in (*store.events(run=played.run), *played.events)]
    text = json.dumps(every)
    blobs = b"".join(path.read_bytes() for path in Path(bench.store).rglob("*") if path.is_file())
    for secret in ("written-in-the-playbook", "from-the-environment", "c2lnbmluZ19rZXk", "a-token-of-ours"):
        assert secret not in text and secret.encode() not in blobs


def test_secrets_of_the_run_are_starred_in_what_is_sent(bench: Bench, server: Web) -> None:
    plays = """
    plays:
      - hosts: localhost
        gather_facts: false
        tasks:
          - name: Say hunter2hunter2
            fail: {msg: "the password is hunter2hunter2"}
"""
    bench.hosts("localhost ansible_connection=local ansible_become_password=hunter2hunter2\n")
    told = f"      - {{to: webhook, url: {server.url}/hook, text: 'hunter2hunter2 {{{{ event.text }}}}'}}\n"
    play(bench, told, plays=plays)
    (got,) = server.got
    assert b"hunter2" not in got.body and b"********" in got.body


def test_what_no_log_hides_is_not_sent(bench: Bench, server: Web) -> None:
    plays = """
    plays:
      - hosts: localhost
        gather_facts: false
        tasks:
          - {name: Hide it, no_log: true, shell: "echo hidden-word >&2; exit 1"}
"""
    play(bench, f"      - {{to: webhook, url: {server.url}/hook}}\n", plays=plays)
    (got,) = server.got
    assert b"hidden-word" not in got.body and b"Hide it" in got.body


# --- words ---------------------------------------------------------------------------------------------


def test_words_of_one_s_own_see_the_event_and_the_playbook_s_variables(bench: Bench, server: Web) -> None:
    text = f"""
    name: Shop
    vars: {{team: "<@U123>"}}
    notifications:
      - to: slack
        url: {server.url}/hook
        on: [failed]
        when: event.failures | length > 0
        title: "{{{{ event.playbook }}}} is broken, {{{{ team }}}}"
        text: "{{{{ event.failures[0].message }}}}"
      - {{to: slack, url: {server.url}/by, on: [failed], when: "event.who == 'ann@here'"}}
      - {{to: slack, url: {server.url}/never, on: [failed], when: event.exit == 99}}
      - to: webhook
        url: {server.url}/own
        on: [failed]
        body: {{content: "{{{{ event.title }}}}", code: "{{{{ event.exit }}}}"}}
    plays:
      - hosts: localhost
        gather_facts: false
        tasks:
          - {{name: Say it, shell: "printf '<!channel> @all \\\\173\\\\173 7 * 7 \\\\175\\\\175'", register: said}}
          - {{name: Break, fail: {{msg: "{{{{ said.stdout }}}}"}}}}
"""
    bench.play(text, options={"who": "ann@here"})
    (slack,), (own,) = server.of("/hook"), server.of("/own")
    said = slack.json["text"]
    assert said.startswith("*Shop is broken, <@U123>*"), "the author may call somebody"
    assert "&lt;!channel&gt;" in said and "@all" not in said, "and what came from a run may not"
    assert "{{ 7 * 7 }}" in said, "nor is it ever a template"
    assert own.json == {"content": "Shop failed", "code": 4}
    assert not server.of("/never") and len(server.of("/by")) == 1


def test_words_that_fail_are_replaced_and_the_message_is_told(bench: Bench, server: Web) -> None:
    told = f"""      - to: webhook
        url: {server.url}/hook
        on: [failed]
        text: "{{{{ 10 // (event.failures[0].message | length - 22) }}}}"
"""
    played = play(bench, told, '{"cmd": "exit 3"}')
    assert server.events("/hook") == ["failed"] and "Try on localhost" in server.got[0].json["text"]
    assert "is told in ciflow's own words" in warnings(played)[0]


# --- programs, approvals, resume -----------------------------------------------------------------------


def test_a_program_hears_in_the_playbook_s_folder(bench: Bench) -> None:
    play(bench, "      - {to: command, argv: [sh, -c, 'cat > heard'], on: [succeeded]}\n")
    assert json.loads((bench.folder / "heard").read_text())["on"] == "succeeded"


def test_the_example_tells_of_a_failure_and_of_the_recovery(bench: Bench) -> None:
    heard = bench.folder / "heard"
    for command in ("false", "true"):
        request = Request(str(shipped("playbooks") / "notify.yml"), extra=(f"command={command} heard={heard}",))
        with Store.open(bench.store) as store:
            apply(request, store, ())
    titles = [json.loads(line)["title"] for line in heard.read_text().splitlines()]
    assert titles == ["Tell how it went: failed", "Tell how it went: recovered"]


def test_what_is_recorded_as_told_is_not_told_again_by_a_resume(bench: Bench, server: Web) -> None:
    bench.file("cmd", "exit 1\n")
    plays = PLAYS.replace("\"{{ cmd | default('true') }}\"", f"sh {bench.folder}/cmd")
    first = play(
        bench, f"      - {{to: webhook, url: {server.url}/hook, on: [started, failed, recovered]}}\n", plays=plays
    )
    assert server.events("/hook") == ["started", "failed"]
    bench.file("cmd", "exit 0\n")
    assert bench.resume(first.run).exit == 0
    assert server.events("/hook") == ["started", "failed", "recovered"]


def test_a_play_that_waits_for_approval_is_told(bench: Bench, server: Web) -> None:
    plays = """
    plays:
      - name: Ship
        hosts: localhost
        gather_facts: false
        approval: {prompt: May it?, timeout: 1s}
        tasks: [{name: Go, command: "true"}]
"""
    play(bench, f"      - {{to: webhook, url: {server.url}/hook}}\n", plays=plays)
    first, last = [one.json for one in server.got]
    assert (first["on"], first["play"], first["reason"]) == ("approval", "Ship", "May it?")
    assert first["next"] == f"ciflow approve {first['run']}" and last["on"] == "failed"
