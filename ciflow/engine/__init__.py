"""Walks a Plan: concurrency, retries, handlers, check mode, resume. Only `drive.py` joins generators to sessions."""
