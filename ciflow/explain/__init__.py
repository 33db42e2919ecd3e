"""Likely causes and fixes of what went wrong, from the output of the command that failed."""

from ciflow.explain.knowledge_base import Explanation, explain

__all__ = ["Explanation", "explain"]
