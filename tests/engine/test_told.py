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


def test_a_template_that_fails_when_it_is_rendered_shows_its_line_with_a_caret(bench: Bench) -> None:
    """In a loop, in a condition, in a template's own file, in what a play says."""
    bench.file("templates/port.j2", "# made\nport {{ said.port }}\n")
    text = """
        - hosts: localhost
          tasks:
            - {name: asks, command: echo one, register: said}
            - block:
                - {name: loop, debug: {msg: "{{ item }}: {{ said.nope }}"}, loop: [1, 2]}
              rescue:
                - block:
                    - {name: asked, debug: {msg: x}, when: said.stdout}
                  rescue:
                    - {name: file, template: {src: port.j2, dest: "{here}/port"}}
        """
    played = bench.play(text)
    ended = [event.data for event in played.of("task_ended")]
    shown = {data["name"]: data["diagnostic"] for data in ended if "diagnostic" in data}
    assert (
        shown["loop"]
        == f"""\
 --> {bench.folder}/play.yml:6:58 (CF0210)
  |
6 |         - {{name: loop, debug: {{msg: "{{{{ item }}}}: {{{{ said.nope }}}}"}}, loop: [1, 2]}}
  |                                                          ^^^^"""
    )
    assert shown["asked"].splitlines()[0] == f" --> {bench.folder}/play.yml:9:52 (CF0203)"
    place, *rest = shown["file"].splitlines()
    assert place == f" --> {bench.folder}/templates/port.j2:2:14 (CF0210)"
    assert rest == ["  |", "2 | port {{ said.port }}", "  |              ^^^^"]
    faulty = bench.play("- {hosts: localhost, serial: \"{{ [1] | first + 'x' }}\", tasks: [{debug: {msg: x}}]}\n")
    assert "^" in faulty.of("error")[0].data["diagnostic"]


def test_a_secret_task_shows_no_line_of_the_playbook(bench: Bench) -> None:
    played = bench.play("""
        - hosts: localhost
          tasks:
            - {name: asks, command: echo one, register: said}
            - {name: t, debug: {msg: "hidden {{ said.nope }}"}, no_log: true}
        """)
    assert played.status("t") == "failed"
    assert not any("diagnostic" in event.data for event in played.of("task_ended"))


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
