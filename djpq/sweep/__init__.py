"""Sweeps: a plan says what to run, a run is a folder, a schedule brings a folder to what the plan asks for."""

from .plan import Entry, Plan, read_plan
from .runs import run_entry
from .schedule import Summary, sweep

__all__ = ["Entry", "Plan", "Summary", "read_plan", "run_entry", "sweep"]
