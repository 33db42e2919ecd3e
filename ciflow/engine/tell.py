"""What the journal is told of a task that ended: for people how it went and why, for plays what it made."""

from __future__ import annotations

import json
import posixpath
from collections.abc import Iterable, Mapping
from typing import Any

from ciflow.diagnostics import Diagnostic
from ciflow.engine.result import Result
from ciflow.lang.files import Files
from ciflow.model import Task

TAIL = 10  # last lines of a failed task's output
_SCALARS = frozenset({str, int, float, bool, type(None)})
_FORMATS = {".cdx.json": "cyclonedx-json", ".spdx.json": "spdx-json"}
# Under which names results say of which file a difference is, the likeliest first.
_FILE_NAMES = ("path", "keyfile", "dest", "cron_file", "fstab", "sysctl_file")


def ended(
    run: str, task: Task, name: str, result: Result, duration: float, files: Files, *, secret: bool
) -> dict[str, Any]:
    """The data of `task_ended`. Of a failure also its last lines, the likely cause, the place in the playbook's files
    that is at fault, and what to type next."""
    data = {
        "name": name,
        "module": task.module,
        "status": result.status,
        "duration": round(max(0.0, duration), 3),
        "msg": _hidden(result) if secret else _said(task, result.values),
        "outcome": {"censored": "hidden by no_log"} if secret else _plain(_without_diff(result.values)),
    }
    if not result.bad:
        return data
    if not secret:
        data |= _why(result.values) | diagnostic(result.faults, files)
    quoted = name.replace("'", "'\\''")
    again = "" if task.rescued else f", or once it is mended ciflow resume {run}"
    return {**data, "next": f"ciflow logs {run} '{quoted}'{again}"}


def diagnostic(faults: Iterable[Diagnostic], files: Files) -> dict[str, str]:
    """The places of faults in the playbook's files, with their lines."""
    from ciflow.lang.snippets import places_of  # most runs have none

    found = places_of(faults, files.sources(one.span.file for one in faults if one.span)) if faults else ""
    return {"diagnostic": found} if found else {}


def _without_diff(values: Mapping[str, Any]) -> Mapping[str, Any]:
    """The difference has an event of its own."""
    return {key: value for key, value in values.items() if key != "diff"} if "diff" in values else values


def _hidden(result: Result) -> str:
    """Of a secret task nobody hears more than that there is something to hear."""
    return "what went wrong is hidden by `no_log`" if result.bad or result.status == "ignored" else ""


def _said(task: Task, values: Mapping[str, Any]) -> str:
    """What a task says for itself; `debug: var=x` says what x is."""
    said = values.get("msg", "")
    if task.module == "assert" and values.get("assertion"):
        return f"{said}: {values['assertion']}"
    if task.module == "validate_argument_spec" and not values.get("failed"):
        return ""  # every use of a role begins with it: there is nothing to hear
    if said == "non-zero return code" and values.get("rc"):
        return f"{said} {values['rc']}"
    if task.module != "debug" or said or values.get("skipped") or "var" not in task.args:
        return str(said)
    name = str(getattr(task.args["var"], "source", task.args["var"]))
    return f"{name}: {json.dumps(_plain(values.get(name)), ensure_ascii=False)}"


def _why(values: Mapping[str, Any]) -> dict[str, Any]:
    """The tail of the output of what failed (of a loop, the first item that did), and its likely cause."""
    from ciflow.explain import explain  # most runs explain nothing

    failed = next((one for one in values.get("results", ()) if one.get("failed") or one.get("unreachable")), values)
    output = [str(failed.get(stream) or "").rstrip("\n") for stream in ("stdout", "stderr")]
    lines = (output[1] or output[0]).splitlines()[-TAIL:]
    rc = failed.get("rc")
    found = explain("\n".join((*output, str(failed.get("msg", "")))), rc if isinstance(rc, int) else None)
    data: dict[str, Any] = {"tail": lines} if lines else {}
    return data | ({"explanation": f"{found.cause} {found.fix}"} if found else {})


def things(task: Task, result: Result) -> dict[str, dict[str, dict[str, Any]]]:
    """Events about what a task made, by kind and then by name: diffs, bills of materials, signatures, values."""
    found: dict[str, dict[str, dict[str, Any]]] = {}
    values = result.values
    if result.diff is not None:
        before, after = result.diff
        path = next((str(values[name]) for name in _FILE_NAMES if values.get(name)), "")
        found["diff"] = {path: {"before": before, "after": after, "path": path}}
    if result.status not in ("ok", "changed"):
        return found
    if task.module == "sbom":
        found["sbom"] = {path: _bill(path, digest, values) for path, digest in values.get("files", {}).items()}
    elif task.module == "sign" and "key_id" in values:
        name = posixpath.basename(values["bundle"]).removesuffix(".sigstore.json")
        found["signature"] = {name: {"name": name, "path": values["bundle"], "by": values["key_id"]}}
    elif task.module == "attest" and "key_id" in values:
        found["attestation"] = {
            path: {"kind": kind, "path": path, "sha256": values["sha256"], "by": values["key_id"]}
            for kind, path in values["attestations"].items()
        }
    elif task.module == "set_stats":
        given = [one["ansible_stats"] for one in values.get("results", (values,)) if "ansible_stats" in one]
        found["stats"] = {str(number): _plain(one) for number, one in enumerate(given)}
    return found


def _bill(path: str, digest: str, values: Mapping[str, Any]) -> dict[str, Any]:
    name = posixpath.basename(path)
    form = next((form for ending, form in _FORMATS.items() if name.endswith(ending)), "")
    return {"name": name, "path": path, "sha256": digest, "format": form, "components": values["components"]}


def _plain(value: Any) -> Any:
    """JSON values only; what is none is shown as text."""
    if value.__class__ in _SCALARS:  # most are: asking whether they are a Mapping takes the longest
        return value
    if isinstance(value, Mapping):
        return {str(key): _plain(below) for key, below in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_plain(below) for below in value]
    return value if isinstance(value, str | int | float | bool | None) else str(value)
