"""Metric providers: what a `query` gate asks of the world, and what the answer comes to.

A provider is one file with two pure functions: `request(ask)` gives the operation that asks, done on the controller,
and `answer(ask, reply)` the sample, or raises NoNumber with the reason. No number is never good: the gate is
inconclusive then.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import isinf
from typing import Any

from ciflow.dataclass import dataclass
from ciflow.model import At, Exec, Http, Probe, Reply, Watch
from ciflow.rollout.metrics import cloudwatch, command, datadog, graphite, influxdb, prometheus, web
from ciflow.rollout.metrics.answers import Ask, NoNumber, missing
from ciflow.rollout.routers.dial import Asked
from ciflow.rollout.thresholds import Sample, Threshold

Options = Mapping[str, Any]
OPEN = frozenset({"url", "query"})  # options of a question that anybody may see and ask


@dataclass(frozen=True, slots=True)
class Provider:
    """How one kind is asked and understood. `one` is a pattern of the number in an answer that is one, for whoever
    watches while no controller does; "" where none can say it."""

    request: Callable[[Ask], Http | Exec]
    answer: Callable[[Ask, Reply], Sample]
    one: str = ""


PROVIDERS: Mapping[str, Provider] = {
    "prometheus": Provider(prometheus.request, prometheus.answer, prometheus.ONE),
    "http": Provider(web.request, web.answer),
    "command": Provider(command.request, command.answer),
    "datadog": Provider(datadog.request, datadog.answer),
    "cloudwatch": Provider(cloudwatch.request, cloudwatch.answer),
    "influxdb": Provider(influxdb.request, influxdb.answer),
    "graphite": Provider(graphite.request, graphite.answer),
}


def watch(source: Mapping[str, Options], timeout: float, rule: Threshold) -> Watch | None:
    """The same question, for a pause that no controller watches; None where it can't be asked then.

    What an answer comes to must be said by a pattern, and the question is left on another machine: one that needs
    credentials, or files of this one, is not.
    """
    ((kind, options),) = source.items()
    provider = PROVIDERS[kind]
    read = provider.request(Ask(options, 0.0, timeout))
    if not provider.one or not isinstance(read, Http) or set(options) - OPEN:
        return None
    most, least = (None if isinf(limit) else limit for limit in (rule.max, rule.min))
    return Watch(
        read=read, pattern=provider.one, limit=most, least=least, misses=rule.failure_limit, every=rule.interval
    )


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
