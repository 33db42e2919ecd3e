"""Whole processes: ciflow itself, real routers, users, and what people do at other terminals."""
