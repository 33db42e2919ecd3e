"""ciflow: one playbook from commit to all of production traffic, and one command back."""

__version__ = "0.1.0"
