"""What plays leave and take: over stores that machines share, after kills, and what a sweep may never remove."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from ciflow.model import Event
from ciflow.store.artifacts import open_shelf
from ciflow.store.holds import holds
from ciflow.store.store import Store
from tests.engine.playing import Bench, Played

BUILD = """
artifact_store: "{here}/shared"
plays:
  - name: build
    hosts: localhost
    tasks: [{shell: "echo {{ word }} > {here}/out/thing; echo built >> {here}/out/log"}]
    artifacts: [{name: thing, path: "{here}/out/thing", key: "{{ word }}"}]
  - name: use
    hosts: localhost
    tasks: [{artifact: {name: thing, dest: "{here}/out/used"}}]
"""


@pytest.fixture
def elsewhere(tmp_path: Path) -> Bench:
    """Another machine: a journal of its own, and the same shared folder."""
    (tmp_path / "other").mkdir()
    return Bench(tmp_path / "other")


def shared(bench: Bench) -> str:
    """The playbook with the store of this bench, for others too."""
    return BUILD.replace("{here}/shared", str(bench.folder / "shared"))


def digests(played: Played) -> dict[str, str]:
    return {event.key: str(event.data["sha256"]) for event in played.of("artifact")}


def test_what_is_made_of_the_same_is_made_once(bench: Bench, elsewhere: Bench) -> None:
    """The second run is on another machine, and finds it in the store that both use."""
    text = shared(bench)
    first = bench.play(text, extra=["word=one"])
    assert (first.exit, bench.wrote(), bench.wrote("used")) == (0, ["built"], ["one"])
    second = elsewhere.play(text, extra=["word=one"])
    assert second.plays() == {"build": "skipped", "use": "ok"}
    assert (second.exit, elsewhere.wrote(), elsewhere.wrote("used")) == (0, [], ["one"])
    assert digests(first) == digests(second) == {"thing": hashlib.sha256(b"one\n").hexdigest()}
    third = elsewhere.play(text, extra=["word=two"])
    assert (third.plays()["build"], elsewhere.wrote("used")) == ("ok", ["two"])


def test_a_play_takes_by_digest_what_another_machine_has_made(bench: Bench, elsewhere: Bench) -> None:
    made = bench.play(shared(bench), extra=["word=one"])
    deploy = """
    artifact_store: "{{ place }}"
    plays:
      - name: deploy
        hosts: localhost
        tasks: [{artifact: {name: thing, dest: "{here}/out/used"}}]
        artifacts: [{name: thing, digest: "sha256:{{ wanted }}"}]
    """
    extra = [f"wanted={digests(made)['thing']}", f"place={bench.folder / 'shared'}"]
    played = elsewhere.play(deploy, extra=extra)
    assert (played.exit, elsewhere.wrote("used")) == (0, ["one"])
    lost = elsewhere.play(deploy, extra=[f"wanted={'0' * 64}", extra[1]])
    assert lost.exit == 4
    assert "has no readable 000000000000" in lost.errors()


def test_what_nobody_has_made_is_an_error_at_its_play(bench: Bench) -> None:
    played = bench.play(
        """
        - name: deploy
          hosts: localhost
          tasks: [{command: "true"}]
          artifacts: [{name: thing, key: abc}]
        """
    )
    assert played.exit == 4
    assert "the store has no artifact `thing` with the key `abc`" in played.errors()
    assert played.ends() == []


def test_a_folder_is_no_artifact(bench: Bench) -> None:
    played = bench.play(
        """
        - name: build
          hosts: localhost
          tasks: [{command: "true"}]
          artifacts: [{name: thing, path: "{here}/out"}]
        """
    )
    assert "the artifact `thing` is a directory" in played.errors()


def test_a_store_that_is_none_is_refused_before_anything_runs(bench: Bench) -> None:
    from ciflow.diagnostics import Refused

    with pytest.raises(Refused, match="can't be kept at"):
        bench.play(shared(bench).replace(str(bench.folder / "shared"), "ftp://example.org"), extra=["word=x"])
    with Store.open(bench.store) as store:
        assert store.runs() == []


def test_a_store_that_is_down_fails_the_play_and_a_resume_goes_on(bench: Bench) -> None:
    """The tasks of the play do not run again: only what was left to do is done."""
    text = BUILD.replace("echo built", "touch {here}/shared; echo built")  # a file where the folder should be
    first = bench.play(text, extra=["word=one"])
    assert (first.exit, first.plays()["build"]) == (4, "failed")
    assert "the artifact `thing`: can't write into the store" in first.errors()
    (bench.folder / "shared").unlink()
    second = bench.resume(first.run)
    assert (second.exit, bench.wrote(), bench.wrote("used")) == (0, ["built"], ["one"])
    with Store.open(bench.store) as store:
        shelf = open_shelf(bench.store, str(bench.folder / "shared"))
        assert [one.name for one in shelf.entries()] == ["thing"]
        assert set(holds(store)) == set(), "the run went well: nothing is open"


# --- what needs them -------------------------------------------------------------------------------------------


def sweep(bench: Bench) -> set[str]:
    """All that may go goes, whatever its age; what is left, by the first word of its content."""
    with Store.open(bench.store) as store:
        shelf = open_shelf(bench.store)
        shelf.sweep(holds(store), days=0, keep=0, grace=0)
        return {shelf.take(one.digest).read_text().split()[0] for one in shelf.entries()}


PAUSES = """
- name: build
  hosts: localhost
  tasks: [{shell: "echo {{ word }} > {here}/out/thing"}]
  artifacts: [{name: thing, path: "{here}/out/thing"}]
- name: use
  hosts: localhost
  tasks:
    - artifact: {name: thing, dest: "{here}/out/used"}
    - file: {path: "{here}/out/thing", state: absent}
    - command: "{{ then }}"
"""


def test_what_a_run_that_failed_left_is_kept_until_it_went_well(bench: Bench) -> None:
    failed = bench.play(PAUSES, extra=["word=one", f"then='cat {bench.out}/sign'"])
    assert failed.exit == 4
    assert sweep(bench) == {"one"}
    (bench.out / "sign").write_text("go")
    assert bench.resume(failed.run).exit == 0
    assert sweep(bench) == set()


def test_a_run_that_failed_is_given_up_when_a_later_one_went_well(bench: Bench) -> None:
    assert bench.play(PAUSES, extra=["word=one", "then=false"]).exit == 4
    assert bench.play(PAUSES, extra=["word=two", "then=true"]).exit == 0
    assert sweep(bench) == set()


def test_what_a_slot_runs_or_may_run_again_at_once_is_kept(bench: Bench) -> None:
    """Three releases: the third has the traffic in slot a, the second is a way back in slot b, the first is gone."""
    for number, (word, slot) in enumerate((("one", "a"), ("two", "b"), ("three", "a")), 1):
        run = bench.play(PAUSES, extra=[f"word={word}", "then=true"]).run
        data = {"service": "shop", "version": str(number), "slot": slot, "token": number}
        with Store.open(bench.store) as store:
            store.append(
                [
                    Event(kind="canary_started", run=run, play="roll_out", data=data),
                    Event(kind="dial", run=run, play="roll_out", data={"weight": 10_000, "token": number}),
                ]
            )
    with Store.open(bench.store) as store:
        assert sorted(holds(store).values()) == [
            "2 in slot b of shop is a way back", "3 in slot a of shop has 100% of the traffic"
        ]  # fmt: skip
    assert sweep(bench) == {"two", "three"}


def test_what_an_open_run_needs_of_a_shared_store_no_other_machine_sweeps(bench: Bench, elsewhere: Bench) -> None:
    place = str(bench.folder / "shared")
    text = f'artifact_store: "{place}"\nplays:\n' + PAUSES.replace("\n", "\n  ").rstrip()
    assert bench.play(text, extra=["word=one", "then=false"]).exit == 4
    shelf = open_shelf(elsewhere.store, place)
    assert shelf.sweep({}, days=0, keep=0, grace=0).removed == ()
    digest = hashlib.sha256(b"one\n").hexdigest()
    assert shelf.take(digest).read_text() == "one\n"
