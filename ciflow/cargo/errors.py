"""What this package refuses: text that is not what the named tool writes."""

from __future__ import annotations


class ToolOutputError(ValueError):
    """Output of cargo, nextest or another test tool that cannot be understood; its text is fit for a user."""
