"""Runs as the engine records them, for the tests of what people see."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ciflow.model import Event

START = 1_700_000_000.0


class Story:
    """Builds events; `pass_time` moves the clock that stamps them."""

    def __init__(self, run: str = "R-12") -> None:
        self.run = run
        self.at = START
        self.events: list[Event] = []

    def pass_time(self, seconds: float) -> Story:
        self.at += seconds
        return self

    def tell(
        self, kind: str, data: Mapping[str, Any] | None = None, *, play: str = "", task: str = "", host: str = ""
    ) -> Story:
        self.events.append(
            Event(kind=kind, run=self.run, at=self.at, seq=len(self.events) + 1, play=play, task=task, host=host,
                  data=data or {})
        )  # fmt: skip
        return self

    def begin(self) -> Story:
        told = {"playbook": "playbooks/release.yml", "who": "ada", "check": False, "request": {}}
        return self.tell("run_started", told)

    def play(self, play: str, name: str, hosts: int = 1, cell: Mapping[str, str] | None = None) -> Story:
        return self.tell("play_started", {"name": name, "hosts": hosts, "cell": cell or {}}, play=play)

    def task(
        self,
        play: str,
        task: str,
        name: str,
        statuses: Mapping[str, str],
        took: float = 0.5,
        module: str = "command",
        **data: Any,
    ) -> Story:
        """A whole task: it starts, `took` seconds pass, all hosts end."""
        started = {"name": name, "module": module, "hosts_total": len(statuses)}
        self.tell("task_started", started, play=play, task=task).pass_time(took)
        for host, status in statuses.items():
            ended = {"name": name, "module": module, "status": status, "duration": took}
            self.tell("task_ended", {**ended, **data}, play=play, task=task, host=host)
        return self

    def end_play(self, play: str, result: str = "ok", **data: Any) -> Story:
        began = next(e.at for e in self.events if e.kind == "play_started" and e.play == play)
        return self.tell("play_ended", {"result": result, "duration": self.at - began, **data}, play=play)

    def end(self, code: int, result: str, following: str = "") -> Story:
        return self.tell("run_ended", {"exit": code, "result": result, "summary": {"next": following}})


def release() -> Story:
    """A release of shield 1.4.0 that goes well, in two steps."""
    s = Story().begin()
    s.play("test", "Test")
    s.task("test", "0", "Lint", {"ci": "ok"}, took=6)
    s.task("test", "1", "Run the tests", {"ci": "ok"}, took=35, msg="212 passed, 1 flaky")
    s.end_play("test", did="212 passed, 1 flaky")
    s.play("build[bin=server]", "Build", cell={"bin": "server"}).pass_time(12)
    s.tell("artifact", {"name": "server", "path": "target/server", "sha256": "9f2c" + "0" * 60, "size": 4_200_000},
           play="build[bin=server]")  # fmt: skip
    s.tell(
        "sbom", {"name": "server.cdx.json", "sha256": "77aa" + "0" * 60, "components": 412}, play="build[bin=server]"
    )
    s.tell("signature", {"name": "server.cdx.json", "by": "ada"}, play="build[bin=server]")
    s.end_play("build[bin=server]", "cached")
    s.play("roll", "Roll out", hosts=4)
    hosts = ["web1", "web2", "web3", "web4"]
    s.tell("canary_started", {"service": "shield", "version": "1.4.0", "slot": "b", "live": "a", "token": 7,
                              "steps": [100, 500], "hosts": hosts}, play="roll")  # fmt: skip
    s.task("roll", "0", "Copy the binary", dict.fromkeys(hosts, "changed"), took=3)
    s.task("roll", "1", "Start the slot", {**dict.fromkeys(hosts[:3], "changed"), "web4": "ok"}, took=1)
    step(s, 100, 120, (12, 0), (1192, 4))
    step(s, 500, 41, (610, 3), (11_590, 40))
    s.tell("canary_state", {"state": "good", "step": 1, "weight": 500, "reason": ""}, play="roll")
    s.tell("users", {"served": 13_404, "failed": 47, "met_fault": 0}, play="roll")
    s.end_play("roll")
    return s.end(0, "shield 1.4.0 has all traffic and is observed good.", "ciflow rollback shield")


def failure() -> Story:
    """One host fails with output that tries to set the terminal's title, one can't be reached."""
    s = Story().begin().play("p", "Configure", 3)
    s.task("p", "0", "Ping", dict.fromkeys(("web1", "web2", "web3"), "ok"))
    s.tell("task_started", {"name": "Restart the service", "module": "service", "hosts_total": 3}, play="p", task="1")
    s.pass_time(1.2)
    named = {"name": "Restart the service", "module": "service"}
    s.tell("task_ended", {**named, "status": "changed", "duration": 1.2}, play="p", task="1", host="web1")
    text = "Job for shield.service failed\n\x1b]0;pwn\x07see journalctl\n"
    s.tell("output", {"stream": "stderr", "text": text}, play="p", task="1", host="web2")
    s.tell("task_ended", {**named, "status": "failed", "duration": 1.2, "msg": "exit code 1",
                          "explanation": "port 8080 is already in use by nginx (pid 411)",
                          "next": "ciflow resume R-12"}, play="p", task="1", host="web2")  # fmt: skip
    s.tell("task_ended", {**named, "status": "unreachable", "duration": 10, "msg": "no route to host 10.0.0.3:22"},
           play="p", task="1", host="web3")  # fmt: skip
    return s.end_play("p", "failed", reason="2 of 3 hosts failed").end(4, "Configure failed on 2 of 3 hosts.")


def turned_back() -> Story:
    """A canary whose candidate fails one request in ten."""
    s = Story().begin().play("roll", "Roll out", 4)
    s.tell("canary_started", {"service": "shield", "version": "1.4.0", "slot": "b", "live": "a", "token": 7,
                              "steps": [500], "hosts": ["web1", "web2", "web3", "web4"]}, play="roll")  # fmt: skip
    s.tell("dial", {"share": 500, "slot": "b", "weight": 500, "verified": True, "took": 0.2, "token": 7}, play="roll")
    s.pass_time(6)
    s.tell("interval", {"step": 0, "weight": 500, "candidate": {"requests": 610, "bad": 60},
                        "stable": {"requests": 11_590, "bad": 4}}, play="roll")  # fmt: skip
    sentence = "errors too many: 60 of 610 against 4 of 11,590"
    s.tell("gate", {"name": "errors", "verdict": "bad", "evidence": 300.0, "threshold": 100.0, "sentence": sentence,
                    "counts": {}}, play="roll")  # fmt: skip
    reason = "errors: odds 300 to 1 against `as good as stable`"
    s.tell("canary_state", {"state": "rolling_back", "step": 0, "weight": 500, "reason": reason}, play="roll")
    s.pass_time(0.4)
    s.tell("dial", {"share": 0, "slot": "b", "weight": 0, "verified": True, "took": 0.2, "token": 7}, play="roll")
    s.tell("canary_state", {"state": "rolled_back", "step": 0, "weight": 0}, play="roll")
    s.tell("rollback", {"service": "shield", "from": "1.4.0", "to": "1.3.2", "who": "ada", "reason": "errors",
                        "took": 0.4}, play="roll")  # fmt: skip
    s.tell("users", {"served": 12_200, "failed": 64, "met_fault": 610}, play="roll")
    return s.end_play("roll", "failed", reason="rolled back").end(
        7, "shield 1.4.0 was rolled back; 1.3.2 has all traffic."
    )


def step(s: Story, weight: int, seconds: float, candidate: tuple[int, int], stable: tuple[int, int]) -> Story:
    """One turn of the dial; its interval and looks at three quarters of the time, and an empty interval at the end."""
    s.tell(
        "dial", {"share": weight, "slot": "b", "weight": weight, "verified": True, "took": 0.2, "token": 7}, play="roll"
    )
    s.pass_time(seconds * 0.2)
    for name, evidence in (("errors", 0.8), ("latency", 0.2)):
        s.tell("gate", {"name": name, "verdict": "good", "evidence": evidence, "threshold": 100.0,
                        "sentence": f"{name} like stable", "counts": {}}, play="roll")  # fmt: skip
    s.pass_time(seconds * 0.55)
    s.tell("interval", {"step": 0, "weight": weight, "candidate": {"requests": candidate[0], "bad": candidate[1]},
                        "stable": {"requests": stable[0], "bad": stable[1]}}, play="roll")  # fmt: skip
    return s.pass_time(seconds * 0.25)
