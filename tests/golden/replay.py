"""Plays a module against written replies: what it asked for, and what it came to, as plain values for YAML."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from ciflow.diagnostics import Unreachable
from ciflow.model import At, Change, Context, Hold, Note, Probe, Render, Reply, Run, Step
from ciflow.modules import MODULES
from ciflow.modules import __file__ as package

ROOT = Path(__file__).resolve().parents[2]
SCHEMAS = ROOT / "schemas" / "modules"
CASES = ROOT / "tests" / "golden" / "modules"
FILES = str(Path(package).parent / "files")
ENOUGH_STEPS = 200


def schema(verb: str) -> dict[str, Any]:
    return dict(yaml.safe_load((SCHEMAS / f"{verb}.yml").read_text()))


def play(verb: str, case: Mapping[str, Any]) -> tuple[list[Any], dict[str, Any]]:
    """The steps a module yields when it gets the case's replies in turn, and its outcome."""
    steps = MODULES[verb].run(_filled(verb, case.get("args", {})), Context(**_tuples(case.get("context", {}))))
    replies = iter(case.get("replies", []))
    asked: list[Any] = []
    answer: Reply | Unreachable | None = None
    for _ in range(ENOUGH_STEPS):
        try:
            step = steps.throw(answer) if isinstance(answer, Unreachable) else steps.send(answer)  # type: ignore[arg-type]
        except StopIteration as stop:
            left = len(list(replies))
            assert not left, f"{left} replies were not asked for"
            return asked, _plain(stop.value)
        asked.append(_step(step))
        given = next(replies, None)
        assert given is not None, f"no reply is written for step {len(asked)}: {asked[-1]}"
        answer = Unreachable(given["lost"]) if "lost" in given else reply(given)
    raise AssertionError("it asks for ever")


def reply(given: Mapping[str, Any]) -> Reply:
    return Reply(**{k: v.encode() if k in ("stdout", "stderr") else v for k, v in given.items()})


def _filled(verb: str, args: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments with the schema's defaults, as the engine hands them over."""
    arguments = schema(verb)["arguments"]
    return {name: rule["default"] for name, rule in arguments.items() if "default" in rule} | _pairs(args)


def _pairs(args: Mapping[str, Any]) -> dict[str, Any]:
    return {k: [tuple(pair) for pair in v] if k == "that" else v for k, v in args.items()}


def _tuples(context: Mapping[str, Any]) -> dict[str, Any]:
    return {k: tuple(v) if isinstance(v, list) else v for k, v in context.items()}


def _step(step: Step) -> dict[str, Any]:
    match step:
        case Probe() | Change():
            shown = {type(step).__name__.lower(): {type(step.operation).__name__.lower(): _plain(step.operation)}}
            return shown | ({"last": True} if step.last else {})
        case At():
            return {"at": step.place, **_step(step.step)}
        case Render() | Hold() | Note() | Run():
            return {type(step).__name__.lower(): _plain(step)}


def _plain(value: Any) -> Any:
    """Only what differs from a field's default: what a reader of a golden wants to see."""
    if isinstance(value, bytes):
        return _text(value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        shown = {f.name: getattr(value, f.name) for f in dataclasses.fields(value)}
        kept = {f.name for f in dataclasses.fields(value) if shown[f.name] != _default(f)}
        return {name: _plain(shown[name]) for name in shown if name in kept}
    if isinstance(value, Mapping):
        return {k: _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        if value and all(dataclasses.is_dataclass(v) for v in value):
            return [{type(v).__name__.lower(): _plain(v)} for v in value]
        return [_plain(v) for v in value]
    return value.replace(FILES, "$FILES").replace(sys.executable, "$PYTHON") if isinstance(value, str) else value


def _default(field: dataclasses.Field[Any]) -> Any:
    return field.default_factory() if callable(field.default_factory) else field.default


def _text(value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError:
        return f"hex:{value.hex()}"
