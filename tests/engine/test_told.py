"""What the journal says of a failure and of what was made, for the console, the reports and the summary."""

from tests.engine.playing import Bench


def test_a_failure_says_its_last_lines_its_likely_cause_and_what_to_type(bench: Bench) -> None:
    played = bench.play(
        """
        - hosts: localhost
          tasks:
            - {name: "it's full", shell: "seq 30 >&2; echo 'write /x: No space left on device' >&2; exit 1"}
        """
    )
    data = played.of("task_ended")[0].data
    assert data["tail"] == [*map(str, range(22, 31)), "write /x: No space left on device"]
    assert "full" in data["explanation"]
    assert f"ciflow logs {played.run} 'it'\\''s full'" in data["next"]
    assert f"ciflow resume {played.run}" in data["next"]


def test_output_stands_in_for_errors_that_are_empty(bench: Bench) -> None:
    played = bench.play("- hosts: localhost\n  tasks: [{name: t, shell: echo said; exit 1}]\n")
    assert played.of("task_ended")[0].data["tail"] == ["said"]


def test_of_a_loop_the_item_that_failed_is_shown(bench: Bench) -> None:
    played = bench.play(
        "- hosts: localhost\n  tasks: [{name: t, shell: 'echo {{ item }}; test {{ item }} = a', loop: [a, b]}]\n"
    )
    assert played.of("task_ended")[0].data["tail"] == ["b"]


def test_what_went_well_or_was_ignored_needs_no_explanation(bench: Bench) -> None:
    played = bench.play("- hosts: localhost\n  tasks: [{command: 'true'}, {command: 'false', ignore_errors: true}]\n")
    assert [e.data.keys() & {"tail", "explanation", "next"} for e in played.of("task_ended")] == [set(), set()]


def test_a_signature_is_an_event_with_its_artifacts_name(bench: Bench) -> None:
    bench.file("out/app", "binary")
    played = bench.play(
        """
        - hosts: localhost
          tasks:
            - {name: sign, sign: {path: "{here}/out/app", key: "{here}/key.pem", create_key: true, passphrase: hush}}
        """
    )
    assert played.exit == 0, played.ends()
    (event,) = played.of("signature")
    assert event.data["name"] == "app"
    assert event.data["path"] == f"{bench.out}/app.sigstore.json"
    assert event.data["by"]
