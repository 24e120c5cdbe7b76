"""Let Optuna choose the next runs from the results so far, batch by batch.

Nothing but the runs is stored: a search that was interrupted asks the same questions again, finds the answers in finished runs, and
goes on. A batch is told in the order in which it was asked, so what finishes first does not matter.
"""

from pathlib import Path
from typing import Any

import numpy as np

from hwmodel.errors import InputError

from ..catalogue import iterate_results
from ..pareto import axis
from .crew import Crew
from .identity import task_maker
from .plan import Plan
from .points import Axis, Optuna, Range
from .schedule import Report, Summary, sweep


def run_plan(folder: Path, plan: Plan, crew: Crew, report: Report = lambda event, run: None) -> Summary:
    """Run a plan on a crew: all of it, or what Optuna asks for."""
    if isinstance(plan.generator, Optuna):
        return search(folder, plan, crew, report)
    return sweep(folder, plan.entries(), crew=crew, report=report)


def search(folder: Path, plan: Plan, crew: Crew, report: Report = lambda event, run: None) -> Summary:
    """Run what Optuna asks for. Seeds of the plan are run for every point and their medians are told.

    **Errors**: InputError without Optuna, or when the plan's lists hold more than one network, machine, budget or method: put the
    choice between them into `axes`.
    """
    try:
        import optuna
    except ImportError as error:
        raise InputError("generator optuna needs Optuna: pip install 'djpq[optuna]'") from error
    generator = plan.generator
    assert isinstance(generator, Optuna)
    objectives = [axis(name) for name in generator.objectives]
    single = plan.networks, plan.accelerators, plan.budgets, plan.methods
    if any(len(choices) != 1 for choices in single):
        raise InputError("generator optuna: networks, accelerators, budgets and methods must hold one each; put the choice into axes")
    plan.choice()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(
        sampler=_sampler(optuna, generator), directions=["maximize" if name.endswith("_accuracy") else "minimize" for name in objectives]
    )
    total = Summary()
    for start in range(0, generator.trials, generator.batch):
        trials = [study.ask() for _ in range(min(generator.batch, generator.trials - start))]
        asked = [
            plan.of_points(iter([{path: suggested(trial, path, values) for path, values in plan.axes.items()}])).entries for trial in trials
        ]
        summary = sweep(folder, [entry for entries in asked for entry in entries], crew=crew, report=report, close=False)
        _add(total, summary)
        if summary.interrupted:
            break
        make, results = task_maker(), dict(iterate_results(folder))
        for trial, entries in zip(trials, asked, strict=True):
            found = measured([results.get(make(entry).name) for entry in entries], objectives)
            if found is None:
                study.tell(trial, state=optuna.trial.TrialState.FAIL)
            else:
                study.tell(trial, found)
    crew.close()
    return total


def suggested(trial: Any, path: str, values: Axis) -> Any:
    """Return Optuna's choice for an axis."""
    if not isinstance(values, Range):
        return values[trial.suggest_int(path, 0, len(values) - 1)]
    if values.integer:
        return values.written(trial.suggest_int(path, round(values.low), round(values.high), log=values.log))
    return values.written(trial.suggest_float(path, values.low, values.high, log=values.log))


def measured(results: list[dict[str, Any] | None], objectives: list[str]) -> list[float] | None:
    """Return the medians over a point's runs; None when a run has no result or the machine was too large to be run at all."""
    found = [result for result in results if result is not None]
    if not found or len(found) < len(results):
        return None
    return [float(np.median([result[name] for result in found])) for name in objectives]


def _sampler(optuna: Any, generator: Optuna) -> Any:
    if generator.sampler == "nsga2":
        return optuna.samplers.NSGAIISampler(population_size=generator.batch, seed=generator.seed)
    return optuna.samplers.TPESampler(seed=generator.seed, constant_liar=True, n_startup_trials=min(10, generator.batch))


def _add(total: Summary, part: Summary) -> None:
    known = {*total.done, *total.skipped}  # Optuna may ask for the same point again
    total.done += part.done
    total.skipped += [name for name in part.skipped if name not in known]
    total.refused |= part.refused
    total.failed |= part.failed
    total.left += part.left
    total.notes += [note for note in part.notes if note not in total.notes]
    total.interrupted |= part.interrupted
