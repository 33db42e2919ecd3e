"""What an event says, in one line without its time: for whoever reads a run afterwards."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ciflow.model import Event
from ciflow.report import humane

INNER = frozenset({"op_sent", "op_reply", "rendered", "snapshot"})  # kinds that say nothing to people
_TEXTS = ("sentence", "message", "reason", "name", "prompt", "verb", "result")  # where nothing better is known


def said_of(event: Event) -> str:
    """ "" of one that its kind says all of."""
    maker = _SAID.get(event.kind)
    if maker:
        return maker(event.data)
    return next((str(event.data[name]) for name in _TEXTS if event.data.get(name)), "")


def log_data(event: Event) -> dict[str, Any]:
    """As `ciflow logs --json` prints it."""
    return {"seq": event.seq, "at": event.at, "kind": event.kind, "play": event.play, "host": event.host,
            "task": event.task, "data": dict(event.data)}  # fmt: skip


def output_of(event: Event) -> list[str]:
    """The lines that a task's program printed, of its `task_ended`."""
    outcome: Mapping[str, Any] = event.data.get("outcome") or {}
    output = [str(outcome[name]) for name in ("stdout", "stderr") if outcome.get(name)]
    return [line for part in output for line in part.splitlines()]


def _joined(head: str, why: object) -> str:
    return f"{head}: {why}" if why else head


def _way(data: Mapping[str, Any]) -> str:
    """How it came, if not by a command."""
    return f" through the {data['way']}" if data.get("way") else ""


def _started(data: Mapping[str, Any]) -> str:
    return _joined(f"{data.get('playbook', '')} by {data.get('who', '')}{_way(data)}", data.get("reason"))


def _ended(data: Mapping[str, Any]) -> str:
    return _joined(f"exit {data['exit']}", data.get("result"))


def _play_started(data: Mapping[str, Any]) -> str:
    return f"{data['name']}: {humane.counted(int(data['hosts']), 'host')}" if "hosts" in data else str(data["name"])


def _batch(data: Mapping[str, Any]) -> str:
    return f"batch {data['number']} of {data['of']}: {', '.join(data['hosts'])}"


def _retry(data: Mapping[str, Any]) -> str:
    return _joined(f"try {data['attempt']} of {data['of']}", data.get("why"))


def _notified(data: Mapping[str, Any]) -> str:
    return str(data["handler"])


def _made(data: Mapping[str, Any]) -> str:
    digest = f"  sha256:{data['sha256'][:12]}" if data.get("sha256") else ""
    return f"{data['name']}{f' at {path}' if (path := data.get('path')) else ''}{digest}"


def _vouched(data: Mapping[str, Any]) -> str:
    return f"{data.get('path') or data.get('name', '')} by {data['by']}"


def _used(data: Mapping[str, Any]) -> str:
    found = [f"{humane.duration(float(data['cpu']))} of cpu"] if "cpu" in data else []
    found += [f"at most {humane.size(data['peak_kb'] * 1024)}"] if data.get("peak_kb") else []
    moved = data.get("sent", 0) + data.get("received", 0)
    return ", ".join([*found, *([f"{humane.size(moved)} moved"] if moved else [])])


def _tests(data: Mapping[str, Any]) -> str:
    """By their last attempt: P is passed, and what took several was flaky."""
    attempts = [tries for tries, _ in data["results"].values()]
    passed = sum(tries.endswith("P") for tries in attempts)
    flaky = sum(tries.endswith("P") and len(set(tries)) > 1 for tries in attempts)
    words = {"passed": passed, "flaky": flaky, "failed": len(attempts) - passed}
    return ", ".join(f"{humane.number(number)} {word}" for word, number in words.items() if number or word == "passed")


def _cache(data: Mapping[str, Any]) -> str:
    head = f"{data['backend'] or 'none'}: {data['hits']} hits, {data['misses']} misses"
    return _joined(head, data.get("lost"))


def _stats(data: Mapping[str, Any]) -> str:
    return ", ".join(data["data"])


def _retire(data: Mapping[str, Any]) -> str:
    return f"{data['service']}: slot {data['slot']} after {humane.duration(float(data['after']))}"


def _task(data: Mapping[str, Any]) -> str:
    return f"{data.get('name', '')}: {data.get('status', '')} {data.get('msg', '')}".strip()


def _canary(data: Mapping[str, Any]) -> str:
    before = data.get("from") or "nothing"
    return f"{data['service']} {data['version']} into slot {data['slot']}, beside {before}"


def _state(data: Mapping[str, Any]) -> str:
    at = f" at {humane.share(int(data['weight']))}" if data.get("weight") else ""
    return _joined(f"{str(data['state']).replace('_', ' ')}{at}", data.get("reason"))


def _dial(data: Mapping[str, Any]) -> str:
    return _joined(f"slot {data['slot']} has {humane.share(int(data['weight']))}", data.get("reason"))


def _wanted(data: Mapping[str, Any]) -> str:
    share = f" is to have {humane.share(int(data['weight']))}" if "weight" in data else " is to have all"
    return _joined(f"slot {data['slot']}{share}", data.get("reason"))


def _interval(data: Mapping[str, Any]) -> str:
    return ", ".join(
        f"{name} {humane.number(data[name]['bad'])} bad of {humane.number(data[name]['requests'])}"
        for name in ("candidate", "stable")
        if name in data
    )


def _gate(data: Mapping[str, Any]) -> str:
    return _joined(f"{data['name']} {data['verdict']}", data.get("sentence"))


def users(data: Mapping[str, Any]) -> str:
    served, failed, met = (humane.number(float(data.get(name, 0))) for name in ("served", "failed", "met_fault"))
    return f"{served} requests served, {failed} failed, {met} of them on the new version"


def _rollback(data: Mapping[str, Any]) -> str:
    left = f", but not on {', '.join(data['left'])}" if data.get("left") else ""
    what = f"{data['service']} {data['from']} -> {data['to']}{left}, by {data.get('who', '')}{_way(data)}"
    return _joined(what, data.get("reason"))


def _found(data: Mapping[str, Any]) -> str:
    return f"{data['service']} {data['version']} in slot {data['slot']} had all traffic"


def _by(data: Mapping[str, Any]) -> str:
    what = data.get("verb") or ("" if "yes" not in data else "approved" if data["yes"] else "refused")
    return _joined(f"{what} by {data.get('by', '')}{_way(data)}".strip(), data.get("reason"))


def _heard(data: Mapping[str, Any]) -> str:
    whom = f"{data.get('to', '')} {data.get('where', '')}".rstrip()
    if data.get("check"):
        return f"{whom} would hear of {', '.join(data['on']).replace('_', ' ')}"
    how = "told" if data.get("sent") else "not told"
    return _joined(f"{whom} {how} of {str(data.get('on', '')).replace('_', ' ')}", data.get("answer"))


_SAID: Mapping[str, Callable[[Mapping[str, Any]], str]] = {
    "run_started": _started,
    "run_ended": _ended,
    "play_started": _play_started,
    "batch_started": _batch,
    "retry": _retry,
    "handler_notified": _notified,
    "usage": _used,
    "artifact": _made,
    "artifact_removed": _made,
    "sbom": _made,
    "provenance": _made,
    "evidence": _made,
    "signature": _vouched,
    "attestation": _vouched,
    "tests": _tests,
    "cache": _cache,
    "stats": _stats,
    "retire": _retire,
    "task_ended": _task,
    "canary_started": _canary,
    "canary_state": _state,
    "dial": _dial,
    "dial_wanted": _wanted,
    "interval": _interval,
    "gate": _gate,
    "users": users,
    "rollback": _rollback,
    "found": _found,
    "command": _by,
    "approval_given": _by,
    "annotation": _by,
    "notified": _heard,
}
