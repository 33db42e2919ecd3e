"""`ciflow notify PLAYBOOK`: tries whom it notifies."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import click

from ciflow.cli.options import json_option, roles_path
from ciflow.cli.passwords import live_files, vault_options
from ciflow.diagnostics import ExitCode

if TYPE_CHECKING:
    from ciflow.engine.notices import Named
    from ciflow.lang.notifications import Receiver

_MOMENTS = ("started", "succeeded", "recovered", "failed", "interrupted", "paused", "approval", "dial", "promoted",
            "rolled_back")  # fmt: skip


@click.command("notify")
@click.argument("playbook")
@click.option("-e", "--extra-vars", multiple=True, help="key=value, JSON, or @file; wins over all else.")
@click.option("--on", type=click.Choice(_MOMENTS), help="What the message tells of; else the first that each hears.")
@click.option("-C", "--check", is_flag=True, help="Send nothing; say who would be told, and of what.")
@vault_options
@json_option
def command(playbook: str, extra_vars: tuple[str, ...], on: str | None, check: bool, as_json: bool) -> int:
    """Send everybody whom PLAYBOOK notifies a message that is marked as a test, and show what they answer.

    An incident that is opened so is closed again. Exit 4 where somebody could not be told.
    """
    from ciflow.engine.notices import named

    told = named(playbook, extra_vars, live_files(), roles_path())
    if not told.receivers:
        click.echo(f"{playbook} notifies nobody", err=True)
    failed = False
    for receiver in told.receivers:
        for row in [_described(receiver)] if check or receiver.lacks else _sent(told, receiver, on):
            click.echo(json.dumps(row) if as_json else _line(row))
            failed = failed or not (row["sent"] or check)
    return ExitCode.TASK_FAILED if failed else ExitCode.OK


def _described(receiver: Receiver) -> dict[str, Any]:
    lacks = f"nobody is told: `{receiver.lacks}` is empty" if receiver.lacks else ""
    return {**_whom(receiver), "on": list(receiver.spec.on), "sent": False, "answer": lacks}


def _sent(told: Named, receiver: Receiver, on: str | None) -> Iterator[dict[str, Any]]:
    """One message; to PagerDuty another that closes what it has opened."""
    first = on or receiver.spec.on[0]
    for name in dict.fromkeys((first, "recovered") if receiver.spec.to == "pagerduty" else (first,)):
        answer = told.tried(receiver, name)
        yield {**_whom(receiver), "on": [name], "sent": answer.sent, "answer": answer.said}


def _whom(receiver: Receiver) -> dict[str, Any]:
    from ciflow.report.messages import where

    return {"to": receiver.spec.to, "where": where(receiver.spec.to, receiver.settings)}


def _line(row: Mapping[str, Any]) -> str:
    told = ", ".join(one.replace("_", " ") for one in row["on"])
    came = f"{'told' if row['sent'] else 'not told'}: " if row["answer"] else ""
    return f"{row['to']:<10} {row['where']:<24} {told:<12} {came}{row['answer']}".rstrip()
