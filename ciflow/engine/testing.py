"""The magic variable `test_history`: what the runs before this one tell of tests."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ciflow.store.store import Store


def before(store: Store, run: str, began: float) -> Mapping[str, Any]:
    """{flaky: tests to try again, seconds: how long each takes}. `began` is when this run did, in Unix seconds.

    The run itself doesn't count, however long it takes: all its shards are to split the tests by the same values.
    """
    from ciflow.cargo import flaky, history

    past = history.trials(e for e in store.events(kinds=("tests",)) if e.run != run and e.at < began)
    judged = flaky.judge(past, began)
    return {"flaky": flaky.to_retry(judged.values()), "seconds": history.seconds(past)}
