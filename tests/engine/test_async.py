"""`async`: tasks that go on apart from the play, and what comes of them. Against Ansible: peer/asyncs.yml."""

from tests.engine.playing import Bench
from tests.parts.process import wait_for


def test_a_task_with_poll_0_is_left_behind_and_asked_about_later(bench: Bench) -> None:
    played = bench.play(
        """
        - hosts: localhost
          tasks:
            - name: start
              shell: until [ -e {here}/out/go ]; do sleep 0.02; done; echo done
              async: 120
              poll: 0
              register: job
            - {name: not yet, async_status: {jid: "{{ job.ansible_job_id }}"}, register: early}
            - {name: go, file: {path: "{here}/out/go", state: touch}}
            - name: wait
              async_status: {jid: "{{ job.ansible_job_id }}"}
              register: end
              until: end is finished
              retries: 1000
              delay: 0.05
            - {name: said, debug: {msg: "{{ early.finished }} {{ end.stdout }} {{ end.rc }} {{ end is changed }}"}}
        """
    )
    assert played.exit == 0
    assert played.msg("said") == "False done 0 True"


def test_a_task_that_is_left_behind_outlives_the_run(bench: Bench) -> None:
    played = bench.play(
        """
        - hosts: localhost
          tasks:
            - name: start
              shell: until [ -e {here}/out/go ]; do sleep 0.02; done; echo x > {here}/out/late
              async: 120
              poll: 0
        """
    )
    assert played.exit == 0
    (bench.out / "go").touch()
    wait_for((bench.out / "late").exists)


def test_a_task_whose_time_is_over_is_ended_and_fails(bench: Bench) -> None:
    played = bench.play(
        """
        - hosts: localhost
          tasks:
            - {name: behind, shell: "sleep 30; echo x >> {here}/out/log", async: 1, poll: 0, register: job}
            - name: asked
              async_status: {jid: "{{ job.ansible_job_id }}"}
              register: end
              until: end is finished
              retries: 1000
              delay: 0.1
              ignore_errors: true
            - {name: waited for, shell: "sleep 30; echo x >> {here}/out/log", async: 1, poll: 5}
        """
    )
    assert played.status("asked") == "ignored"
    assert played.status("waited for") == "failed"
    assert "within the requested time - 1s" in played.msg("waited for")
    assert bench.wrote() == []


def test_several_jobs_of_a_loop_run_side_by_side(bench: Bench) -> None:
    played = bench.play(
        """
        - hosts: localhost
          tasks:
            - name: start
              shell: |
                touch {here}/out/{{ item }}
                until [ -e {here}/out/{{ 3 - item }} ]; do sleep 0.02; done; echo {{ item }}
              loop: [1, 2]
              async: 120
              poll: 0
              register: jobs
            - name: wait
              async_status: {jid: "{{ item.ansible_job_id }}"}
              loop: "{{ jobs.results }}"
              register: ends
              until: ends is finished
              retries: 1000
              delay: 0.1
            - {name: said, debug: {msg: "{{ ends.results | map(attribute='stdout') | join(' ') }}"}}
        """
    )
    assert played.msg("said") == "1 2"


def test_check_mode_leaves_nothing_behind(bench: Bench) -> None:
    played = bench.play(
        """
        - hosts: localhost
          tasks:
            - {name: start, command: "touch {here}/out/ran", async: 120, poll: 0, register: job}
        """,
        options={"check": True},
    )
    assert played.status("start") == "skipped"
    assert not (bench.out / "ran").exists()


def test_after_a_failure_a_resumed_run_still_knows_its_jobs_and_starts_none_twice(bench: Bench) -> None:
    text = """
        - hosts: localhost
          tasks:
            - {name: start, shell: "echo x >> {here}/out/log; echo told", async: 120, poll: 0, register: job}
            - {name: breaks, command: "test -e {here}/out/mended"}
            - name: asked
              async_status: {jid: "{{ job.ansible_job_id }}"}
              register: end
              until: end is finished
              retries: 1000
              delay: 0.1
            - {name: said, debug: {msg: "{{ end.stdout }}"}}
        """
    first = bench.play(text)
    assert first.exit == 4
    (bench.out / "mended").write_text("")
    again = bench.resume(first.run)
    assert again.exit == 0
    assert again.msg("said") == "told"
    assert bench.wrote() == ["x"]
