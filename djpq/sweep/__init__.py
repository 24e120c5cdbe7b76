"""Sweeps: a plan says what to run, a run is a folder, an executor runs what is missing."""

from .plan import Entry, Plan, read_plan
from .runs import run_entry

__all__ = ["Entry", "Plan", "read_plan", "run_entry"]
