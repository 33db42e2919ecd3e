"""The journal: events, locks, blobs, keys, and the folds that make runs and releases of events."""

from ciflow.store.folds import Release, RunSummary, history, releases, summaries, summary
from ciflow.store.locks import Held, Holder, Lease, Observer
from ciflow.store.mask import Mask, StreamMask
from ciflow.store.store import Store, default_state

__all__ = [
    "Held",
    "Holder",
    "Lease",
    "Mask",
    "Observer",
    "Release",
    "RunSummary",
    "Store",
    "StreamMask",
    "default_state",
    "history",
    "releases",
    "summaries",
    "summary",
]
