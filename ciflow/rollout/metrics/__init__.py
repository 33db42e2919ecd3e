"""Metric providers: what a `query` gate asks of the world, and what the answer comes to.

A provider is one file with two pure functions: `request(ask)` gives the operation that asks, done on the controller,
and `answer(ask, reply)` the sample, or raises NoNumber with the reason. No number is never good: the gate is
inconclusive then.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ciflow.dataclass import dataclass
from ciflow.model import At, Exec, Http, Probe, Reply
from ciflow.rollout.metrics import cloudwatch, command, datadog, graphite, influxdb, prometheus, web
from ciflow.rollout.metrics.answers import Ask, NoNumber, missing
from ciflow.rollout.routers.dial import Asked
from ciflow.rollout.thresholds import Sample

Options = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Provider:
    """How one kind is asked and understood."""

    request: Callable[[Ask], Http | Exec]
    answer: Callable[[Ask, Reply], Sample]


PROVIDERS: Mapping[str, Provider] = {
    "prometheus": Provider(prometheus.request, prometheus.answer),
    "http": Provider(web.request, web.answer),
    "command": Provider(command.request, command.answer),
    "datadog": Provider(datadog.request, datadog.answer),
    "cloudwatch": Provider(cloudwatch.request, cloudwatch.answer),
    "influxdb": Provider(influxdb.request, influxdb.answer),
    "graphite": Provider(graphite.request, graphite.answer),
}


def sample(source: Mapping[str, Options], now: float, timeout: float) -> Asked[Sample]:
    """Ask the one provider of `source` ({kind: options}); a late, refused or senseless answer is a missing one.

    `now`: Unix seconds. `timeout`: seconds that the question may take; nothing waits longer for a metric.
    """
    ((kind, options),) = source.items()
    provider, ask = PROVIDERS[kind], Ask(options, now, timeout)
    reply = yield At("controller", Probe(provider.request(ask)))
    try:
        return provider.answer(ask, reply)
    except NoNumber as reason:
        return missing(str(reason))
    except (KeyError, IndexError, TypeError, ValueError, AttributeError) as error:
        return missing(f"the answer of {kind} is not as its documentation says: {type(error).__name__}: {error}")
