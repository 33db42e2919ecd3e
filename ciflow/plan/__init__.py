"""Playbook and inventory to a Plan: what will run, where, and in which order. Pure; nothing is executed here."""

from ciflow.plan.compile import Plan, Selection, Stage, compile_plan

__all__ = ["Plan", "Selection", "Stage", "compile_plan"]
