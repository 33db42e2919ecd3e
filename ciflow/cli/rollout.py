"""`ciflow rollout simulate PLAYBOOK`: what the steps and gates of a canary would do, before production meets them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from ciflow.cli.options import inventory_of, json_option, playbook_options, roles_path, selection_of
from ciflow.cli.passwords import live_files, vault_options
from ciflow.diagnostics import CiflowError, Diagnostic, ExitCode, Invalid

if TYPE_CHECKING:
    from ciflow.plan import Stage
    from ciflow.rollout.simulate import Report

WHOLE = 10_000  # all traffic, in hundredths of a percent


@click.group("rollout", context_settings={"help_option_names": ["-h", "--help"]})
def command() -> None:
    """Look into rollouts before they happen."""


@command.command("simulate")
@click.argument("playbook")
@playbook_options
@vault_options
@click.option("--rate", type=float, required=True, help="Requests a second, over all routers.")
@click.option("--errors", default="0.1%", help="Stable's share of failed requests.")
@click.option("--slow", default="1%", help="Stable's share of requests slower than each latency edge.")
@click.option("--faults", default="2,3,5,10", help="Odds ratios of the faults to look for.")
@click.option("--runs", type=click.IntRange(1, 100_000), default=100, help="Simulated releases for each fault.")
@click.option("--seed", type=int, default=1, help="The same seed gives the same answer.")
@json_option
def simulate(
    playbook: str, inventory: tuple[str, ...], extra_vars: tuple[str, ...], limit: str, plays: tuple[str, ...],
    tags: tuple[str, ...], skip_tags: tuple[str, ...], start_at_task: str, rate: float,
    errors: str, slow: str, faults: str, runs: int, seed: int, as_json: bool,
) -> int:  # fmt: skip
    """How often the canaries of PLAYBOOK would turn a good release back, and how soon a faulty one.

    Uses the judge of a real rollout, on traffic that is assumed: nothing is run.
    """
    from ciflow.engine.request import Request, prepare
    from ciflow.plan.compile import cells_of

    chosen = selection_of(limit, plays, tags, skip_tags, start_at_task)
    request = Request(playbook, inventory_of(inventory), extra_vars, chosen, roles_path=roles_path())
    _, plan = prepare(request, live_files())
    canaries = [stage for stage in plan.stages if _steps_of(stage)]
    if not canaries:
        raise CiflowError(f"{playbook} has no canary with a step below 100 %: there is nothing to simulate")
    ratios = _ratios(faults)
    for stage in canaries:
        services = len(cells_of(plan, stage))
        reports = _forecast(stage, services, rate, _share(errors), _share(slow), ratios, runs, seed)
        lines = _data(stage, reports) if as_json else _text(stage, reports)
        click.echo("\n".join(lines))
    return ExitCode.OK


def _steps_of(stage: Stage) -> bool:
    canary = stage.play.canary
    return canary is not None and any(0 < step.weight < WHOLE for step in canary.steps)


def _forecast(
    stage: Stage,
    services: int,
    rate: float,
    errors: float,
    slow: float,
    faults: tuple[float, ...],
    runs: int,
    seed: int,
) -> Mapping[float, Report]:
    from ciflow.lang.canary import judged
    from ciflow.rollout.gates import gates_from
    from ciflow.rollout.simulate import Step, Traffic, forecast

    canary = stage.play.canary
    assert canary is not None
    try:
        gates = gates_from(judged(canary.gates), canary.alpha, services=services)
    except ValueError as error:
        raise Invalid([Diagnostic("error", "CF0311", str(error), canary.span)]) from error
    steps = [
        Step(step.weight / WHOLE, step.hold + canary.warm_up, step.min_requests)
        for step in canary.steps
        if 0 < step.weight < WHOLE
    ]
    traffic = Traffic(
        requests_per_second=rate,
        error_rate=errors,
        slow={edge: slow for gate in gates for edge in gate.edges},
        routers=max(1, len(stage.hosts)),
        interval=canary.interval,
        warm_up=canary.warm_up,
        deadline=canary.deadline,
    )
    return forecast(steps, gates, traffic, faults=faults, runs=runs, seed=seed, early=canary.early)


def _share(text: str) -> float:
    from ciflow.rollout.gates import share

    try:
        value = share(text)
    except ValueError as error:
        raise click.UsageError(f"{text!r} is not a share such as 0.1%") from error
    if not 0 <= value < 1:
        raise click.UsageError(f"{text} is not a share between 0 and 100 %")
    return value


def _ratios(text: str) -> tuple[float, ...]:
    try:
        ratios = tuple(float(part) for part in text.split(",") if part.strip())
    except ValueError as error:
        raise click.UsageError(f"--faults takes numbers with commas, not {text!r}") from error
    if any(ratio <= 1 for ratio in ratios):
        raise click.UsageError("a fault has an odds ratio above 1")
    return ratios


def _data(stage: Stage, reports: Mapping[float, Report]) -> Iterator[str]:
    for ratio, report in reports.items():
        yield json.dumps({"play": stage.id, "odds_ratio": ratio, **asdict(report)})


def _text(stage: Stage, reports: Mapping[float, Report]) -> Iterator[str]:
    from ciflow.report.humane import duration

    canary = stage.play.canary
    assert canary is not None
    good = reports[1.0]
    steps = " -> ".join(f"{step.weight / 100:g} %" for step in canary.steps)
    yield f"{stage.play.name} [{stage.id}]  {steps}"
    if any("query" in gate for gate in canary.gates):
        yield "  without `query`: what it would answer can't be assumed"
    promoted = duration(good.promote_median) if good.promote_median is not None else "never"
    yield (
        f"  a good release     promoted {good.promoted:.0%} after {promoted}, falsely turned back "
        f"{good.rolled_back:.1%}, undecided at the deadline {good.inconclusive:.0%}"
    )
    for ratio, report in reports.items():
        if ratio == 1.0:
            continue
        found = f"after {duration(report.detect_median)}" if report.detect_median is not None else "never"
        yield (
            f"  a fault of {ratio:>3g} times the odds: turned back {report.rolled_back:.0%} {found}, "
            f"promoted {report.promoted:.0%}; {report.hurt_mean:.0f} bad answers too many (95 %: {report.hurt_p95:.0f})"
        )
