"""Sinks: what is told of events, and how people and programs read it."""

from ciflow.report.console import Console, wants_colour
from ciflow.report.jsonl import JsonLines
from ciflow.report.sink import Sink
from ciflow.report.summary import Summary

__all__ = ["Console", "JsonLines", "Sink", "Summary", "wants_colour"]
