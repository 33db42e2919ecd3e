"""Sinks: what is told of events, and how people and programs read it."""
