"""The journal: events, locks, blobs, keys, and the folds that make runs and releases of events."""
