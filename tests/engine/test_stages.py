"""Plays as stages: needs, matrix, outputs, retry, deadline, approval, play `when`; what stops and what goes on."""

import subprocess
import sys
import threading
import time

from ciflow.store.store import Store
from tests.engine.playing import Bench, Played
from tests.targets.test_contract import assert_ends


def spans(played: Played) -> dict[str, tuple[float, float]]:
    """When each play began and ended."""
    begun = {e.play: e.at for e in played.of("play_started")}
    return {e.play: (begun[e.play], e.at) for e in played.of("play_ended")}


def test_plays_without_needs_run_one_after_the_other_and_those_with_needs_side_by_side(bench: Bench) -> None:
    played = bench.play(
        """
        - {name: a, hosts: localhost, tasks: [{command: sleep 0.5}]}
        - {name: b, hosts: localhost, needs: [], tasks: [{command: sleep 0.5}]}
        - {name: c, hosts: localhost, needs: [a, b], tasks: [{command: "true"}]}
        - {name: d, hosts: localhost, tasks: [{command: "true"}]}
        """
    )
    when = spans(played)
    assert played.exit == 0
    assert when["b"][0] < when["a"][1]
    assert when["a"][0] < when["b"][1]
    assert when["c"][0] >= max(when["a"][1], when["b"][1])
    assert when["d"][0] >= when["c"][1]


def test_a_failed_need_skips_what_needs_it_and_a_skipped_one_counts_as_well(bench: Bench) -> None:
    played = bench.play(
        """
        - {name: bad, hosts: localhost, tasks: [{command: "false"}]}
        - {name: other, hosts: localhost, needs: [], when: false, tasks: [{command: "true"}]}
        - {name: after other, hosts: localhost, needs: [other], tasks: [{command: "true"}]}
        - {name: after bad, hosts: localhost, needs: [bad], tasks: [{command: "true"}]}
        - {name: clean up, hosts: localhost, needs: [bad], always: true, tasks: [{command: "true"}]}
        """
    )
    assert played.plays() == {
        "bad": "failed",
        "other": "skipped",
        "after other": "ok",
        "after bad": "skipped",
        "clean up": "ok",
    }
    assert played.exit == 4


def test_a_play_whose_when_does_not_hold_is_skipped_and_says_so(bench: Bench) -> None:
    played = bench.play(
        """
        - {name: a, hosts: localhost, when: go | default(false), tasks: [{name: t, command: "true"}]}
        - {name: b, hosts: localhost, tasks: [{name: u, command: "true"}]}
        """
    )
    assert played.names() == ["u"]
    assert played.of("play_ended")[0].data["reason"] == "`when` is false"


def test_facts_stay_in_their_matrix_cell_and_outputs_leave_it(bench: Bench) -> None:
    played = bench.play(
        """
        - name: build
          hosts: localhost
          matrix: {bin: [one, two]}
          tasks:
            - set_fact: {built: "{{ matrix.bin }}"}
            - {name: inside, command: "echo {{ built }}"}
          outputs: {made: "{{ built is defined }}"}
        - name: use
          hosts: localhost
          tasks:
            - {name: fact, debug: {msg: "{{ built | default('unknown') }}"}}
            - {name: output, debug: {msg: "{{ plays.build.outputs.made }}"}}
        """
    )
    assert sorted(e.data["outcome"]["stdout"] for e in played.of("task_ended") if e.data["name"] == "inside") == [
        "one",
        "two",
    ]
    assert played.msg("fact") == "unknown"
    assert played.msg("output") is True


def test_facts_are_seen_only_by_plays_that_need_the_one_that_set_them(bench: Bench) -> None:
    played = bench.play(
        """
        - {name: a, hosts: localhost, tasks: [set_fact: {seen: true}]}
        - {name: b, hosts: localhost, needs: [], tasks: [{name: in b, debug: {msg: "{{ seen is defined }}"}}]}
        - {name: c, hosts: localhost, needs: [a], tasks: [{name: in c, debug: {msg: "{{ seen is defined }}"}}]}
        """
    )
    assert (played.msg("in b"), played.msg("in c")) == (False, True)


def test_plays_of_one_concurrency_group_take_turns(bench: Bench) -> None:
    bench.play(
        "".join(
            f"""
        - name: deploy {n}
          id: d{n}
          hosts: localhost
          needs: []
          concurrency: {{group: deploy}}
          tasks: [{{shell: "echo in >> {{here}}/out/log; sleep 0.1; echo out >> {{here}}/out/log"}}]
        """
            for n in (1, 2)
        )
    )
    assert bench.wrote() == ["in", "out"] * 2


def test_max_parallel_limits_how_many_cells_run_at_once(bench: Bench) -> None:
    bench.play(
        """
        - hosts: localhost
          matrix: {n: [1, 2, 3], max_parallel: 1}
          tasks: [{shell: "echo in >> {here}/out/log; sleep 0.1; echo out >> {here}/out/log"}]
        """
    )
    assert bench.wrote() == ["in", "out"] * 3


RETRIED = """
        - name: flaky
          hosts: localhost
          retry: {attempts: {attempts}, backoff: exponential, delay: 0.2}
          tasks:
            - {name: first, shell: echo first >> {here}/out/log}
            - {name: t, shell: "echo t >> {here}/out/tries; test $(wc -l < {here}/out/tries) = 3"}
        """


def test_retry_runs_a_failed_play_again_with_growing_pauses(bench: Bench) -> None:
    began = time.monotonic()
    played = bench.play(RETRIED.replace("{attempts}", "4"))
    assert time.monotonic() - began >= 0.2 + 0.4
    assert bench.wrote() == ["first"] * 3
    assert bench.wrote("tries") == ["t"] * 3
    assert [e.data["attempt"] for e in played.of("retry")] == [1, 2]
    assert (played.exit, played.plays()) == (0, {"flaky": "ok"})


def test_a_play_that_never_goes_well_fails_after_all_its_attempts(bench: Bench) -> None:
    played = bench.play(RETRIED.replace("{attempts}", "2"))
    assert bench.wrote("tries") == ["t"] * 2
    assert (played.exit, played.plays()) == (4, {"flaky": "failed"})


def test_a_play_that_exceeds_its_deadline_fails_and_what_it_ran_is_ended(bench: Bench) -> None:
    played = bench.play(
        """
        - {name: slow, hosts: localhost, deadline: 2s, tasks: [{shell: "echo $$ >> {here}/out/pid; sleep 60 || true"}]}
        """
    )
    assert played.plays()["slow"] == "failed"
    assert "deadline" in played.of("play_ended")[0].data["reason"]
    assert played.exit == 4
    for pid in bench.wrote("pid"):
        assert_ends(int(pid))


WAITING = """
        - name: publish
          hosts: localhost
          approval: {prompt: "Publish {{ 1 + 1 }} things?", {more}}
          tasks: [{name: t, command: "true"}]
        """


def answer(
    bench: Bench, *arguments: str, who: str = "bob", after: threading.Thread | None = None,
    refused: list[str] | None = None,
) -> threading.Thread:  # fmt: skip
    """Somebody answers in another terminal as soon as the run asks, or else when the one before has. With `refused`,
    what is said to those who may not."""

    def type_it() -> None:
        for _ in range(1200):
            with Store.open(bench.store) as store:
                if list(store.events(kinds=("approval_wanted",))):
                    break
            time.sleep(0.05)
        argv = [sys.executable, "-m", "ciflow", "approve", *arguments, "--state", str(bench.store)]
        environment = {"USER": who, "LOGNAME": who, "PATH": "/usr/bin:/bin"}
        if after is not None:
            after.join()
        done = subprocess.run(argv, check=refused is None, capture_output=True, text=True, env=environment)
        if refused is not None:
            assert done.returncode == 3
            refused.append(done.stderr)

    thread = threading.Thread(target=type_it)
    thread.start()
    return thread


def test_a_play_waits_for_approval_from_another_process(bench: Bench) -> None:
    thread = answer(bench, "--reason", "looks good")
    played = bench.play(WAITING.replace("{more}", "timeout: 120s"))
    thread.join()
    assert played.of("approval_wanted")[0].data["prompt"] == "Publish 2 things?"
    assert played.names() == ["t"]
    assert played.exit == 0


def test_a_refused_play_fails_and_nothing_of_it_runs(bench: Bench) -> None:
    thread = answer(bench, "--no")
    played = bench.play(WAITING.replace("{more}", "timeout: 120s"))
    thread.join()
    assert played.names() == []
    assert (played.plays(), played.exit) == ({"publish": "failed"}, 4)


def test_an_approval_nobody_gives_in_time_is_a_no(bench: Bench) -> None:
    played = bench.play(WAITING.replace("{more}", "timeout: 0.3s"))
    assert (played.names(), played.exit) == ([], 4)


def test_the_word_of_somebody_who_is_no_approver_does_not_count_and_keeps_nobody_from_answering(bench: Bench) -> None:
    told: list[str] = []
    thread = answer(bench, who="bob", refused=told)
    thread = answer(bench, who="carol", after=thread)
    played = bench.play(WAITING.replace("{more}", "timeout: 60s, approvers: [carol]"))
    thread.join()
    assert (played.names(), played.exit) == (["t"], 0)
    assert "is no approver of publish" in told[0] and "carol may answer" in told[0], told


def test_an_approver_is_known_by_the_account(bench: Bench) -> None:
    thread = answer(bench, who="carol")
    played = bench.play(WAITING.replace("{more}", "timeout: 120s, approvers: [carol]"))
    thread.join()
    assert (played.names(), played.exit) == (["t"], 0)


def test_an_artifact_kept_by_one_play_is_there_for_the_next(bench: Bench) -> None:
    bench.hosts()
    played = bench.play(
        """
        - name: build
          hosts: web1
          tasks: [{shell: echo made > {here}/out/thing}]
          artifacts: [{name: thing, path: "{here}/out/thing"}]
        - name: use
          hosts: web2
          tasks:
            - file: {path: "{here}/out/thing", state: absent}
            - artifact: {name: thing, dest: "{here}/out/again"}
        """
    )
    assert played.exit == 0, played.ends()
    assert bench.wrote("again") == ["made"]


def test_an_artifact_that_is_not_there_fails_the_play(bench: Bench) -> None:
    played = bench.play(
        """
        - name: build
          hosts: localhost
          tasks: [{command: "true"}]
          artifacts: [{name: thing, path: "{here}/out/none"}]
        """
    )
    assert "the artifact `thing` is not there" in played.errors()
    assert played.exit == 4
