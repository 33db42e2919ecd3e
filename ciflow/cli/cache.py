"""`ciflow cache setup|stats|verify|clean`."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import click

from ciflow.cli.options import json_option, state_option
from ciflow.store.place import Place, default_state

F = TypeVar("F", bound=Callable[..., Any])
KINDS = ("auto", "github", "s3", "redis", "local")


@click.group("cache")
def group() -> None:
    """Set up, look at, try out or empty the cache of compiled crates that Rust builds share."""


def _options(function: F) -> F:
    for option in (
        click.option("--backend", type=click.Choice(KINDS), default="auto", help="Where crates are kept."),
        json_option,
        state_option,
    ):
        function = option(function)
    return function


@group.command("setup")
@_options
def setup(backend: str, as_json: bool, state: Place | None) -> int:
    """Choose a store that answers and print the environment of builds that use it: eval "$(ciflow cache setup)"."""
    code, told = _told("present", backend, state)
    if as_json or code:
        return _said(code, told, as_json)
    for name, value in told["env"].items():
        click.echo(f"export {name}={shlex.quote(value)}")
    click.echo(told["msg"], err=True)
    return code


@group.command("stats")
@_options
def stats(backend: str, as_json: bool, state: Place | None) -> int:
    """What the cache has done since its server was started."""
    code, told = _told("stats", backend, state)
    if as_json or code:
        return _said(code, told, as_json)
    click.echo(told["msg"])
    for why, count in told["not_cached"].items():
        click.echo(f"  not cacheable: {count} {why}")
    if told["errors"]:
        click.echo(f"  {told['errors']} look-ups or stores went wrong")
    if told["size"] is not None:
        click.echo(f"  {told['size'] / 1024**2:.1f} MiB on this machine")
    return code


@group.command("verify")
@_options
def verify(backend: str, as_json: bool, state: Place | None) -> int:
    """Compile a crate into the cache and out of it again."""
    return _said(*_told("verified", backend, state), as_json)


@group.command("clean")
@_options
def clean(backend: str, as_json: bool, state: Place | None) -> int:
    """Empty the cache of this machine; what is in a shared store stays."""
    return _said(*_told("absent", backend, state), as_json)


def _told(wanted: str, backend: str, state: Place | None) -> tuple[int, Mapping[str, Any]]:
    from ciflow.cli.working import work
    from ciflow.store.store import Store

    with Store.open(state or default_state()) as store:
        code, last = work("cache", {"cache_state": wanted, "cache_backend": backend}, store)
    return code, last.outcome


def _said(code: int, told: Mapping[str, Any], as_json: bool) -> int:
    if as_json:
        click.echo(json.dumps(told))
    else:
        click.echo(f"error: {told.get('msg')}" if code else told.get("msg"), err=bool(code))
    return code
