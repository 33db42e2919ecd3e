"""A run is sent by OpenTelemetry where the environment asks for it: what arrives, and what it costs where it can't."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.semconv._incubating.metrics import cicd_metrics

from ciflow.cli import telemetry
from ciflow.diagnostics import CiflowError, Refused
from ciflow.model import Event
from ciflow.report import otel
from ciflow.report.otel import Telemetry
from ciflow.store.store import Store
from tests.parts.otlp import Got, Receiver, patient, receiver
from tests.parts.process import free_port, wait_for
from tests.parts.sshd import Sshd
from tests.report.story import Story

ROOT = Path(__file__).resolve().parents[1]
TRACE = "0af7651916cd43dd8448eb211c80319c"  # W3C's own examples
ABOVE = "b7ad6b7169203331"
PARENT = f"00-{TRACE}-{ABOVE}-01"
STATE = "congo=t61rcWkgMzE"
SECRET = "correct-horse-battery-staple"


@dataclass
class Runs:
    """`ciflow` as a user has it who sends runs somewhere: a folder, a home and a journal of its own."""

    folder: Path
    told: dict[str, str] = field(default_factory=dict)

    @classmethod
    def patient(cls, folder: Path, told: dict[str, str]) -> Runs:
        """Whose runs wait for somebody who does receive, however busy the machine is."""
        return cls(folder, {"PYTHONPATH": patient(folder), **told})

    def start(self, *words: str, **more: str) -> subprocess.Popen[str]:
        others = ("ANSIBLE_", "CIFLOW_", "OTEL_", "TRACE", "GITHUB_", "CI_", "BUILD_")
        kept = {name: value for name, value in os.environ.items() if not name.startswith(others)}
        env = {**kept, "HOME": str(self.folder), "CIFLOW_STATE": str(self.folder / "state"), "PYTHONPATH": str(ROOT),
               "NO_PROXY": "127.0.0.1", **self.told, **more}  # fmt: skip
        argv = [sys.executable, "-m", "ciflow", *words]
        pipe = subprocess.PIPE
        return subprocess.Popen(argv, cwd=self.folder, env=env, text=True, stdout=pipe, stderr=pipe)

    def __call__(self, *words: str, **more: str) -> subprocess.CompletedProcess[str]:
        started = self.start(*words, **more)
        out, err = started.communicate(timeout=120)
        return subprocess.CompletedProcess(started.args, started.returncode, out, err)


# --- a whole run, from a local and an SSH host --------------------------------------------------------------

PLAYBOOK = """
- name: Build it
  hosts: all
  tasks:
    - name: Where it belongs
      shell: echo "$TRACEPARENT $TRACESTATE $PWD" > {{ here }}/{{ inventory_hostname }}
    - name: Left behind
      shell: echo "$TRACEPARENT" > {{ here }}/behind-{{ inventory_hostname }}
      async: 60
      poll: 1
    - name: Its own
      shell: echo "$TRACEPARENT" > {{ here }}/own-{{ inventory_hostname }}
      environment: {TRACEPARENT: mine}
    - name: "Say \\e[31m{{ password }}"
      command: echo "{{ password }}"
    - name: Passed by
      debug: {msg: nothing}
      when: false
    - name: Not so bad
      command: "false"
      ignore_errors: true
- name: Break
  hosts: near
  tasks:
    - name: Break it
      shell: 'echo {{ password }} >&2; echo "{{ password }} is wrong" >&2; exit 3'
"""


@dataclass
class Sent:
    """A run, and what arrived of it."""

    folder: Path
    done: subprocess.CompletedProcess[str]
    receiver: Receiver

    def on(self, host: str, task: str) -> Got:
        (found,) = [one for one in self.receiver.spans if one.name == task and one.attributes["cicd.worker.id"] == host]
        return found

    def wrote(self, name: str) -> list[str]:
        return (self.folder / name).read_text().split()


@pytest.fixture(scope="module")
def sent(tmp_path_factory: pytest.TempPathFactory, ssh_hosts: list[Sshd]) -> Iterator[Sent]:
    """One that somebody else's trace started, on this machine and over SSH."""
    folder = tmp_path_factory.mktemp("sent")
    (folder / "site.yml").write_text(PLAYBOOK)
    (folder / "hosts").write_text(f"near ansible_connection=local\n{ssh_hosts[0].inventory_line('far')}\n")
    (folder / "secret.yml").write_text(f"password: {SECRET}\nansible_become_password: {SECRET}\nhere: {folder}\n")
    with receiver() as heard:
        told = {"OTEL_SERVICE_NAME": "shop-ci", "OTEL_RESOURCE_ATTRIBUTES": "deployment.environment.name=test"}
        runs = Runs.patient(folder, heard.environment(TRACEPARENT=PARENT, TRACESTATE=STATE, **told))
        done = runs("apply", "site.yml", "-i", "hosts", "-e", "@secret.yml", CI_JOB_URL="https://ci.example/job/7")
        yield Sent(folder, done, heard)


def test_a_run_arrives_as_one_trace_below_whoever_started_it(sent: Sent) -> None:
    assert sent.done.returncode == 4 and "warning" not in sent.done.stderr, sent.done.stderr
    spans = sent.receiver.spans
    run = sent.receiver.named("RUN site.yml")
    assert {span.trace for span in spans} == {TRACE} and {span.state for span in spans} == {STATE}
    assert (run.above, run.kind) == (ABOVE, "SERVER")
    assert {span.kind for span in spans if span != run} == {"INTERNAL"}
    for play in (sent.receiver.named("Build it"), sent.receiver.named("Break")):
        assert play.above == run.id and run.began <= play.began <= play.ended <= run.ended
    assert sent.on("far", "Where it belongs").above == sent.receiver.named("Build it").id
    assert len(spans) == len({span.id for span in spans}) == 1 + 2 + 6 * 2 + 1


def test_it_says_how_it_ended_as_the_conventions_want(sent: Sent) -> None:
    run, task = sent.receiver.named("RUN site.yml"), sent.receiver.named("Break it")
    assert run.attributes.items() >= {
        "cicd.pipeline.name": "site.yml", "cicd.pipeline.result": "failure", "cicd.pipeline.action.name": "RUN",
        "cicd.pipeline.run.url.full": "https://ci.example/job/7", "error.type": "task_failed", "ciflow.exit_code": 4,
    }.items()  # fmt: skip
    assert run.status == "ERROR" and run.why.startswith("Break: ")
    assert (task.status, task.attributes["error.type"]) == ("ERROR", "failed")
    assert task.attributes["cicd.pipeline.task.run.id"].startswith(run.attributes["cicd.pipeline.run.id"] + "|")
    assert sent.on("far", "Not so bad").status == "UNSET"
    assert sent.on("far", "Passed by").attributes["cicd.pipeline.task.run.result"] == "skip"
    assert sent.done.stderr.count(run.attributes["cicd.pipeline.run.id"]) >= 1


def test_the_environment_says_who_sends(sent: Sent) -> None:
    for span in sent.receiver.spans:
        assert span.resource.items() >= {
            "service.name": "shop-ci", "deployment.environment.name": "test", "telemetry.sdk.language": "python",
            "cicd.pipeline.name": "site.yml",
        }.items()  # fmt: skip


@pytest.mark.parametrize("host", ["near", "far"])
def test_commands_on_a_host_are_told_the_span_of_their_own_task(sent: Sent, host: str) -> None:
    traceparent, tracestate, _ = sent.wrote(host)
    assert traceparent == f"00-{TRACE}-{sent.on(host, 'Where it belongs').id}-01" and tracestate == STATE
    assert sent.wrote(f"behind-{host}") == [f"00-{TRACE}-{sent.on(host, 'Left behind').id}-01"]
    assert sent.wrote(f"own-{host}") == ["mine"]


def test_no_secret_and_no_control_character_leaves(sent: Sent) -> None:
    bodies = b"".join(body for _, _, body in sent.receiver.requests)
    assert SECRET.encode() not in bodies and b"\x1b[31m" not in bodies
    assert [span.name for span in sent.receiver.spans if span.name.startswith("Say")] == ["Say \\x1b[31m********"] * 2


def test_metrics_are_those_of_the_conventions(sent: Sent) -> None:
    """Names as OpenTelemetry lists them; their numbers by counting what the playbook does."""
    metrics = sent.receiver.metrics
    known = {getattr(cicd_metrics, name) for name in vars(cicd_metrics) if name.isupper()}
    assert set(metrics) <= known
    (attributes, duration), = metrics["cicd.pipeline.run.duration"]  # fmt: skip
    run = sent.receiver.named("RUN site.yml")
    assert duration.count == 1 and duration.sum == pytest.approx((run.ended - run.began) / 1e9, abs=1e-3)
    assert attributes == {"cicd.pipeline.name": "site.yml", "cicd.pipeline.run.state": "executing",
                          "cicd.pipeline.result": "failure", "error.type": "task_failed"}  # fmt: skip
    (attributes, errors), = metrics["cicd.pipeline.run.errors"]  # fmt: skip
    assert errors.as_int == 3 and attributes["error.type"] == "failed"  # two that were ignored, and one that was not
    assert [point.as_int for _, point in metrics["cicd.pipeline.run.active"]] == [0]
    assert [(one, point.as_int) for one, point in metrics["cicd.worker.count"]] == [({"cicd.worker.state": "busy"}, 0)]


# --- taken up again -----------------------------------------------------------------------------------------


def test_a_run_that_was_killed_goes_on_in_the_same_trace_and_tells_nothing_twice(tmp_path: Path) -> None:
    (tmp_path / "go.yml").write_text(
        "- name: Go\n  hosts: localhost\n  tasks:\n    - name: One\n      command: echo 1\n"
        "    - name: Two\n      shell: echo $TRACEPARENT >> told; while ! test -e open; do sleep 0.05; done\n"
        "    - name: Three\n      shell: echo $TRACEPARENT >> told\n"
    )
    with receiver() as heard:
        runs = Runs.patient(tmp_path, heard.environment(OTEL_BSP_SCHEDULE_DELAY="50"))
        first = runs.start("apply", "go.yml", TRACEPARENT=PARENT)
        wait_for(lambda: (tmp_path / "told").exists() and heard.spans, "the first task's span, and the second task")
        first.send_signal(signal.SIGKILL)
        first.communicate()
        assert [span.name for span in heard.spans] == ["One"]
        (tmp_path / "open").touch()
        done = runs("resume", TRACEPARENT=f"00-{'1' * 32}-{'2' * 16}-01")
        assert done.returncode == 0, done.stderr
        assert [span.name for span in heard.spans] == ["One", "Two", "Three", "Go", "RUN go.yml"]
        assert {span.trace for span in heard.spans} == {TRACE} and heard.named("RUN go.yml").above == ABOVE
        assert {heard.named(name).above for name in ("One", "Two", "Three")} == {heard.named("Go").id}
        told = [f"00-{TRACE}-{heard.named(name).id}-01" for name in ("Two", "Three")]
        assert (tmp_path / "told").read_text().split() == told
        assert heard.named("RUN go.yml").began <= heard.named("One").began < heard.named("Two").began


def test_a_past_run_can_be_sent_under_the_ids_that_it_had(tmp_path: Path) -> None:
    (tmp_path / "go.yml").write_text("- hosts: localhost\n  tasks:\n    - command: echo 1\n")
    with receiver() as heard, receiver() as later:
        runs = Runs.patient(tmp_path, heard.environment())
        assert runs("apply", "go.yml").returncode == 0
        done = runs("report", "--send", OTEL_EXPORTER_OTLP_ENDPOINT=later.url)
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
        unlike = {"service.instance.id": ""}  # of the process that sends
        assert [replace(one, resource={**one.resource, **unlike}) for one in later.spans] == [
            replace(one, resource={**one.resource, **unlike}) for one in heard.spans
        ]
        assert not later.metrics
        later.status = 400
        done = runs("report", "--send", OTEL_EXPORTER_OTLP_ENDPOINT=later.url)
        assert done.returncode == 1 and f"3 of 3 spans did not reach {later.url}" in done.stderr, done.stderr
    done = runs("report", "--send", OTEL_EXPORTER_OTLP_ENDPOINT="")
    assert done.returncode == 3 and "nothing says where traces are to be sent" in done.stderr
    assert runs("report", "--send", "--format", "md").returncode == 3


# --- nobody receives ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Runs:
    folder = tmp_path_factory.mktemp("small")
    (folder / "go.yml").write_text("- hosts: localhost\n  tasks:\n    - shell: echo told $TRACEPARENT\n")
    return Runs(folder)


@pytest.mark.fault(25)
@pytest.mark.parametrize("why", ["hangs", "answers 500", "is gone"])
def test_a_collector_that_does_not_take_it_changes_no_run_and_is_noted_once(small: Runs, why: str) -> None:
    with receiver() as heard:
        if why == "hangs":
            heard.answers.clear()
        heard.status = 500
        heard.body = b"\x1b]0;pwn\x07" + b"x" * 10_000
        url = heard.url if why != "is gone" else f"http://user:{SECRET}@127.0.0.1:{free_port()}"
        done = small("apply", "go.yml", OTEL_EXPORTER_OTLP_ENDPOINT=url)
    assert done.returncode == 0 and "Done." in done.stderr, done.stderr
    (said,) = [line for line in done.stderr.splitlines() if "warning" in line]
    assert said.startswith("warning: 3 of 3 spans did not reach http://127.0.0.1:"), said
    reasons = {"answers 500": "500|Server Error", "is gone": "Connection refused"}
    assert (
        re.search(f"no answer within 3 s|{reasons.get(why)}", said)
        and len(said) < 400
        and "\x1b" not in done.stderr
        and SECRET not in done.stderr
    ), said
    assert done.stderr.rstrip().endswith(said)  # whoever reads the end of the run has read it before the wait


@pytest.mark.parametrize(
    ("variable", "value", "said"),
    [("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc", "OTLP is spoken as http/protobuf here, not as grpc"),
     ("OTEL_TRACES_EXPORTER", "console", "OTEL_TRACES_EXPORTER can't be `console`: it is otlp or none"),
     ("OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT", "many", "OpenTelemetry can't do with its settings: "),
     ("OTEL_BSP_SCHEDULE_DELAY", "0", "OpenTelemetry can't do with its settings: ")],
)  # fmt: skip
def test_settings_that_nobody_can_follow_change_no_run_and_are_said(
    small: Runs, variable: str, value: str, said: str
) -> None:
    with receiver() as heard:
        done = small("apply", "go.yml", **heard.environment(**{variable: value}))
        assert done.returncode == 0 and not heard.requests
    assert said in done.stderr and done.stderr.count("warning: nothing is sent: ") == 1, done.stderr


def test_where_opentelemetry_is_not_installed_a_run_goes_on_and_says_what_to_install(
    small: Runs, tmp_path: Path
) -> None:
    (tmp_path / "sitecustomize.py").write_text("import sys\nsys.modules['opentelemetry'] = None\n")
    path = f"{tmp_path}{os.pathsep}{ROOT}"
    done = small("apply", "go.yml", OTEL_EXPORTER_OTLP_ENDPOINT="http://127.0.0.1:1", PYTHONPATH=path)
    assert done.returncode == 0, done.stderr
    assert "warning: nothing is sent: OpenTelemetry is not installed: pip install 'ciflow[otel]'\n" in done.stderr


def test_without_an_address_nothing_of_it_is_loaded_and_commands_hear_nothing(small: Runs) -> None:
    code = (
        "import sys; from ciflow.cli.app import run; code = run(['apply', 'go.yml', '-vv'])\n"
        "parts = ('opentelemetry', 'requests', 'ciflow.report.otel', 'ciflow.report.spans')\n"
        "print(code, [name for name in sys.modules if name.startswith(parts)])"
    )
    env = {name: value for name, value in os.environ.items() if not name.startswith(("OTEL_", "TRACE"))}
    env |= {"CIFLOW_STATE": str(small.folder / "quiet"), "PYTHONPATH": str(ROOT), "HOME": str(small.folder)}
    done = subprocess.run([sys.executable, "-c", code], cwd=small.folder, env=env, text=True, capture_output=True)
    assert done.stdout == "0 []\n", done.stderr
    assert "localhost | told\n" in done.stderr


def test_what_is_not_sampled_is_not_sent_and_commands_hear_that(small: Runs, tmp_path: Path) -> None:
    with receiver() as heard:
        told = heard.environment(TRACEPARENT=f"00-{TRACE}-{ABOVE}-00", PYTHONPATH=patient(tmp_path))
        done = small("apply", "go.yml", "-vv", **told)
        assert done.returncode == 0 and not heard.spans and heard.metrics
    assert re.search(rf"told 00-{TRACE}-(?!{ABOVE})[0-9a-f]{{16}}-00\n", done.stderr), done.stderr
    assert "warning" not in done.stderr


# --- when it is wanted --------------------------------------------------------------------------------------


@pytest.fixture
def asks(monkeypatch: pytest.MonkeyPatch) -> Any:
    for name in [name for name in os.environ if name.startswith(("OTEL_", "TRACE"))]:
        monkeypatch.delenv(name)

    def ask(**variables: str) -> tuple[bool, bool]:
        for name, value in variables.items():
            monkeypatch.setenv(f"OTEL_{name}", value)
        return telemetry.wanted("TRACES"), telemetry.wanted("METRICS")

    return ask


@pytest.mark.parametrize(
    ("variables", "traces", "metrics"),
    [({}, False, False),
     ({"SERVICE_NAME": "shop"}, False, False),
     ({"EXPORTER_OTLP_ENDPOINT": "http://c:4318"}, True, True),
     ({"EXPORTER_OTLP_TRACES_ENDPOINT": "http://c:4318/v1/traces"}, True, False),
     ({"EXPORTER_OTLP_METRICS_ENDPOINT": "http://c:4318/v1/metrics"}, False, True),
     ({"TRACES_EXPORTER": "otlp"}, True, False),
     ({"EXPORTER_OTLP_ENDPOINT": "http://c:4318", "METRICS_EXPORTER": "none"}, True, False),
     ({"EXPORTER_OTLP_ENDPOINT": "http://c:4318", "SDK_DISABLED": "true"}, False, False),
     ({"EXPORTER_OTLP_ENDPOINT": "http://c:4318", "SDK_DISABLED": "yes"}, True, True),
     ({"EXPORTER_OTLP_ENDPOINT": "http://c:4318", "EXPORTER_OTLP_PROTOCOL": "http/protobuf"}, True, True)],
)  # fmt: skip
def test_opentelemetrys_own_variables_say_what_is_sent(
    asks: Any, variables: dict[str, str], traces: bool, metrics: bool
) -> None:
    assert asks(**variables) == (traces, metrics)


def test_a_protocol_that_is_not_spoken_is_refused_for_its_signal_alone(asks: Any) -> None:
    told = {"EXPORTER_OTLP_ENDPOINT": "http://c:4318", "EXPORTER_OTLP_PROTOCOL": "http/protobuf"}
    with pytest.raises(Refused, match="not as grpc"):
        asks(**told, EXPORTER_OTLP_TRACES_PROTOCOL="grpc")


@pytest.mark.parametrize(
    ("given", "trace", "above", "flags"),
    [(PARENT, TRACE, ABOVE, "01"), (f"00-{TRACE}-{ABOVE}-00", TRACE, ABOVE, "00"),
     *((given, None, "0" * 16, "01") for given in ("", "nonsense", f"00-{'0' * 32}-{ABOVE}-01",
                                                   f"00-{TRACE}-{ABOVE}-01; rm -rf /", f"ff-{TRACE}-{ABOVE}-01"))],
)  # fmt: skip
def test_a_traceparent_is_taken_as_w3c_says_and_anything_else_begins_a_trace(
    asks: Any, monkeypatch: pytest.MonkeyPatch, given: str, trace: str | None, above: str, flags: str
) -> None:
    asks(EXPORTER_OTLP_ENDPOINT="http://c:4318")
    monkeypatch.setenv("TRACEPARENT", given)
    monkeypatch.setenv("TRACESTATE", "a=1,$(id)=2,b=\n3" if given == PARENT else "a=1")
    found, state = telemetry.traced_as()
    version, its_trace, its_above, its_flags = found.split("-")
    assert (version, its_above, its_flags) == ("00", above, flags)
    assert its_trace == (trace or its_trace) and int(its_trace, 16) and len(its_trace) == 32
    assert "$" not in state and "\n" not in state


# --- many ---------------------------------------------------------------------------------------------------


def many(count: int, first: int = 0) -> Iterator[Event]:
    """Tasks that ended, each with a name that is longer than anybody needs."""
    name = "x" * 10_000
    (event,) = Story().tell("task_ended", {"name": name, "status": "ok", "duration": 0.1}, play="p").events
    return (replace(event, task=f"tasks.{number}", host=f"h{number}") for number in range(first, first + count))


def test_ten_thousand_tasks_that_end_at_once_all_arrive(monkeypatch: pytest.MonkeyPatch) -> None:
    with receiver() as heard:
        for name, value in heard.environment().items():
            monkeypatch.setenv(name, value)
        monkeypatch.setattr(otel, "PATIENCE", 60.0)
        sink = Telemetry(traces=True, metrics=False)
        for event in (*Story().begin().play("p", "Play", hosts=10_000).events, *many(10_000)):
            sink.event(event)
        sink.close()
        assert not sink.lost
        spans = heard.spans
    assert len({span.id for span in spans}) == len(spans) == 10_000
    assert max(len(span.name) for span in spans) == 256


def test_a_run_of_the_past_that_is_longer_than_the_queue_is_sent_whole(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    ended = [
        *Story("R-7-many").begin().play("p", "Play").events,
        *(replace(one, run="R-7-many") for one in many(3_000)),
    ]
    with Store.open(tmp_path) as store:
        store.append([replace(event, data={**event.data, "name": "Task"}) for event in ended])
    with receiver() as heard:
        for name, value in heard.environment(OTEL_BSP_MAX_QUEUE_SIZE="600", OTEL_BSP_SCHEDULE_DELAY="60000").items():
            monkeypatch.setenv(name, value)
        monkeypatch.setattr(otel, "PATIENCE", 60.0)
        telemetry.send_past(tmp_path, "R-7-many")
        assert len({span.id for span in heard.spans}) == len(heard.spans) == 3_000
        heard.status, before = 400, len(heard.requests)
        with pytest.raises(CiflowError, match=f"498 of 498 spans did not reach {heard.url}"):
            telemetry.send_past(tmp_path, "R-7-many")
        assert len(heard.requests) - before <= 2  # nothing is sent on and on to whoever refuses it


def test_a_collector_that_hangs_for_long_costs_no_more_memory_than_the_queue(monkeypatch: pytest.MonkeyPatch) -> None:
    with receiver() as heard:
        heard.answers.clear()
        for name, value in heard.environment(OTEL_BSP_MAX_QUEUE_SIZE="1024").items():
            monkeypatch.setenv(name, value)
        sink = Telemetry(traces=True, metrics=False)
        for event in (*Story().begin().play("p", "Play").events, *many(4_000)):
            sink.event(event)
        before = sys.getallocatedblocks()
        for event in many(4_000, 4_000):
            sink.event(event)
        kept = sys.getallocatedblocks() - before
        sink.close()
    assert kept < 20_000  # a span is some forty blocks: 4,000 of them would be 160,000
    assert sink.lost.startswith("8000 of 8000 spans did not reach http://127.0.0.1:")
