"""What a playbook usually takes and costs, by the history of its plays: said by `ciflow plan`."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import click

from ciflow.dataclass import dataclass, field
from ciflow.diagnostics import CiflowError

if TYPE_CHECKING:
    from ciflow.plan import Plan
    from ciflow.report.cost import Estimate
    from ciflow.report.used import Usual
    from ciflow.store.place import Place


@dataclass(frozen=True, slots=True)
class History:
    """What each play took before, by id, and all of them together; None where none has ended well yet."""

    usual: Mapping[str, Usual] = field(default_factory=dict)
    estimate: Estimate | None = None
    currency: str = ""

    def text(self) -> str:
        from ciflow.report.bill import usually

        assert self.estimate is not None
        return usually(self.estimate, self.currency)

    def data(self) -> dict[str, Any]:
        assert self.estimate is not None
        found, priced = self.estimate, not self.estimate.charge.unpriced
        amount = {"amount": str(found.charge.amount) if priced else None, "currency": self.currency}
        told = {"seconds": found.seconds, "runs": found.runs, "on": found.on, "unknown": [*found.unknown]}
        return {"estimate": {**told, **amount}}


def history_of(plan: Plan, place: Place, playbook: str) -> History:
    """Nothing where the journal can't be read, which is said: a plan does not need it."""
    if not place.exists():
        return History()
    try:
        return _history(plan, place, playbook)
    except CiflowError as error:
        click.echo(f"warning: there is no estimate: {error.message}", err=True)
        return History()


def _history(plan: Plan, place: Place, playbook: str) -> History:
    from ciflow.cli.cost import known_rates, uses_of
    from ciflow.report.cost import Pricing, estimated
    from ciflow.store.store import Store

    with Store.open(place, read_only=True) as store:
        uses = uses_of(store)
    found = {stage.id: usual for stage in plan.stages if (usual := uses.usual(playbook, stage.id))}
    if not found:
        return History()
    newest = [run for run in uses.runs.values() if run.playbook == playbook and not run.check][-1]
    pricing = Pricing(known_rates(None))
    needs = {stage.id: stage.needs for stage in plan.stages}
    return History(found, estimated(needs, found, newest.jobs[-1], pricing, time.time()), pricing.rates.currency)
