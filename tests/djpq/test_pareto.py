import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from djpq.catalogue import UnreadableRun, load_runs
from djpq.pareto import front, hypervolume, hypervolumes, non_dominated, short_names
from djpq.rows import budget_text
from hwmodel.errors import InputError

# few distinct values, so that ties and copies are drawn often
points = st.lists(st.tuples(st.integers(1, 8), st.integers(0, 8)), max_size=30)


@pytest.fixture
def finish(tmp_path):
    """Writes `<runs>/<run>/result.json` from keyword arguments and returns the runs folder."""

    def write(run, **result):
        (tmp_path / run).mkdir()
        (tmp_path / run / "result.json").write_text(json.dumps(result))
        return tmp_path

    return write


def minimised(pairs):
    return [cost for cost, _ in pairs], [-accuracy for _, accuracy in pairs]


@given(points)
def test_non_dominated_is_what_comparing_all_pairs_says(pairs):
    def beats(a, b):
        return a[0] <= b[0] and a[1] >= b[1] and a != b

    expected = [not any(beats(other, pair) for other in pairs) for pair in pairs]
    assert non_dominated(*minimised(pairs)).tolist() == expected


def test_copies_of_a_front_point_are_all_kept():
    assert non_dominated([1, 1, 2, 2, math.inf], [-5, -5, -5, -6, -6]).tolist() == [True, True, False, True, False]


@given(points, st.integers(1, 9), st.integers(-1, 8))
def test_hypervolume_counts_the_dominated_unit_squares(pairs, limit, floor):
    squares = [
        (cost, accuracy) for cost in range(limit) for accuracy in range(floor, 9) if any(c <= cost and a >= accuracy + 1 for c, a in pairs)
    ]
    assert hypervolume(*minimised(pairs), reference=(limit, -floor)) == len(squares)


@given(points, st.tuples(st.integers(1, 8), st.integers(0, 8)))
def test_hypervolume_grows_only_by_points_that_are_not_dominated(pairs, extra):
    reference = (9, 1)
    before, after = (hypervolume(*minimised(some), reference=reference) for some in (pairs, [*pairs, extra]))
    covered = any(cost <= extra[0] and accuracy >= extra[1] for cost, accuracy in pairs)
    assert after == before if covered else after > before


def test_a_point_on_the_reference_adds_nothing():
    assert hypervolume([4, 1], [-1, -0.25], reference=(4, -0.25)) == 0
    assert hypervolume([np.nextafter(4, 0), 1], [-1, -0.25], reference=(4, -0.25)) > 0


@pytest.mark.parametrize("pair", [([math.nan], [1.0]), ([1.0], [math.nan])])
def test_nan_is_refused(pair):
    with pytest.raises(ValueError, match="NaN"):
        non_dominated(*pair)
    with pytest.raises(ValueError, match="NaN"):
        hypervolume(*pair, reference=(1, 1))


def test_unequal_lengths_and_a_nan_reference_are_refused():
    with pytest.raises(ValueError, match="one length"):
        non_dominated([1, 2], [1])
    with pytest.raises(ValueError, match="reference"):
        hypervolume([1], [1], reference=(math.nan, 0))


def test_load_runs_is_tidy_and_ignores_what_is_not_finished(finish):
    finish("b", method="uniform", bops=50, test_accuracy=0.5, budget={"bops": "2%"}, baseline={"bops": 200})
    (finish("a", bops_percent=3.0, bops=1, baseline={"bops": 200}) / "float-cache").mkdir()
    frame = load_runs(finish("c") / ".")
    assert frame["run"].tolist() == ["a", "b", "c"]
    assert frame["budget"].tolist() == ["none", "bops 2%", "none"]
    assert frame["bops_percent"].tolist()[:2] == [3.0, 25.0]
    assert frame["method"].tolist() == ["", "uniform", ""]
    assert math.isnan(frame["bops_percent"][2])
    assert math.isnan(frame["energy_pj_percent"][1])


@pytest.mark.parametrize("text", ['{"bops": 1', "", "[1]", '{"bops": "many"}', '{"bops": 1' + "0" * 400 + "}", "\xff", "[" * 100_000])
def test_a_corrupted_result_is_named_and_left_out(finish, text):
    folder = finish("good", bops=1)
    finish("bad")
    (folder / "bad" / "result.json").write_bytes(text.encode("latin-1"))
    with pytest.warns(UnreadableRun, match="bad.result.json: left out") as caught:
        frame = load_runs(folder)
    assert frame["run"].tolist() == ["good"]
    assert [len(str(warning.message).splitlines()) for warning in caught] == [1]


def test_a_folder_without_a_finished_run_is_an_input_error(tmp_path, finish):
    for folder in (tmp_path / "missing", tmp_path):
        with pytest.raises(InputError, match=str(folder)) as caught:
            load_runs(folder)
        assert "\n" not in str(caught.value)
    finish("bad", bops="many")
    with pytest.warns(UnreadableRun), pytest.raises(InputError, match="no finished run"):
        load_runs(tmp_path)


@pytest.mark.parametrize(
    ("budget", "text"),
    [
        ({"bops": "2%"}, "bops 2%"),
        ({"bops": "2%", "energy_pj": 1.5e9}, "bops 2%, energy_pj 1.5e+09"),
        ({}, "none"),
        (None, "none"),
        ("2%", "2%"),
    ],
)
def test_budget_text(budget, text):
    assert budget_text(budget) == text


def test_short_names_stay_distinct():
    assert short_names(["djpq", "a.b.uniform"]) == {"djpq": "djpq", "a.b.uniform": "uniform"}
    assert short_names(["a.x", "b.x"]) == {"a.x": "a.x", "b.x": "b.x"}


def test_front_takes_the_median_of_seeds_before_it_compares(finish):
    def runs(method, budget, cost, *accuracies):
        for seed, accuracy in enumerate(accuracies):
            finish(
                f"{method}-{budget}-{seed}",
                method=method, network="n", data="d", accelerator="m", budget={"bops": budget}, seed=seed,
                bops=cost + seed, test_accuracy=accuracy, float_accuracy=0.95,
            )  # fmt: skip

    runs("djpq", "1%", 10, 0.8, 0.9)
    runs("djpq", "2%", 20, 0.9, 0.9)
    runs("djpq", "3%", 30, 0.85, 0.85)  # dominated by its own 2 %
    runs("lucky", "1%", 15, 0.99, 0.51)  # one seed beats all, the median does not
    folder = finish("diverged", method="lucky", network="n", data="d", accelerator="m", bops=1)
    rows = front(load_runs(folder), "bops").set_index(["method", "budget"])
    assert rows["on_front"].to_dict() == {
        ("djpq", "bops 1%"): True,
        ("djpq", "bops 2%"): True,
        ("djpq", "bops 3%"): False,
        ("lucky", "bops 1%"): False,
    }
    assert rows["on_method_front"].tolist() == [True, True, False, True]
    row = rows.loc[("djpq", "bops 1%")]
    assert [row[f"test_accuracy_{share}"] for share in ("q1", "median", "q3")] == pytest.approx([0.825, 0.85, 0.875])
    assert [row[f"bops_{share}"] for share in ("q1", "median", "q3")] == [10.25, 10.5, 10.75]
    assert row["runs"] == 2


def test_front_without_any_known_cost_is_empty_and_a_wrong_cost_is_named(finish):
    frame = load_runs(finish("a", test_accuracy=0.5))
    assert front(frame, "bops").empty
    assert front(frame, "bops")["on_front"].dtype == bool
    with pytest.raises(InputError, match=r"'flops'.*did you mean 'bops'.*energy_pj"):
        front(frame, "flops")
    for axes in (("test_accuracy",), ("bops", "bops"), ("accuracy", "bops", "energy", "cycles")):
        with pytest.raises(InputError, match="two or three different axes"):
            front(frame, *axes)


def scattered(finish, points):
    """One run a point (accuracy, energy, cycles) of one method."""
    for i, (accuracy, energy, cycles) in enumerate(points):
        folder = finish(
            f"r{i}", method="m", network="n", data="d", accelerator="a", budget={"energy_pj": i}, test_accuracy=accuracy / 10,
            energy_pj=10.0**energy, cycles=10.0**cycles, float_accuracy=1,
        )  # fmt: skip
    return load_runs(folder)


def test_three_axes_keep_what_two_would_throw_away(finish):
    frame = scattered(finish, [(9, 1, 3), (9, 2, 2), (9, 3, 1), (9, 3, 3), (5, 1, 3)])
    two, three = front(frame, "accuracy", "energy"), front(frame, "accuracy", "energy", "cycles")
    assert two.set_index("budget")["on_front"].tolist() == [True, False, False, False, False]
    assert three.set_index("budget").loc[[f"energy_pj {i}" for i in range(5)], "on_front"].tolist() == [True, True, True, False, False]
    costs_alone = front(frame, "energy", "cycles").set_index("budget")["on_front"]
    assert costs_alone[[f"energy_pj {i}" for i in range(5)]].tolist() == [True, True, True, False, True]


def test_the_knee_bends_most(finish):
    frame = scattered(finish, [(5, 0, 1), (9, 1, 1), (9.2, 5, 1), (9.3, 9, 1)])
    rows = front(frame, "accuracy", "energy")
    assert rows[rows["knee"]]["energy_pj_median"].tolist() == [10.0]
    assert not front(frame[:2], "accuracy", "energy")["knee"].any()  # two points have none


def test_hypervolumes_are_of_logarithms_against_the_stated_point(finish):
    frame = scattered(finish, [(5, 1, 0), (9, 2, 0)])
    rows = front(frame, "accuracy", "energy")
    (found,) = hypervolumes(rows, ["accuracy", "energy"], reference={"test_accuracy": 0.1, "energy_pj": 1e3}).to_dict("records")
    assert found["hypervolume"] == pytest.approx(1 * (0.5 - 0.1) + 1 * (0.9 - 0.1))
    (own,) = hypervolumes(rows, ["accuracy", "energy"]).to_dict("records")
    assert (own["reference_test_accuracy"], own["reference_energy_pj"]) == (pytest.approx(0.49), pytest.approx(110))
    assert own["hypervolume"] > 0
    with pytest.raises(InputError, match="must give test_accuracy, energy_pj"):
        hypervolumes(rows, ["accuracy", "energy"], reference={"energy_pj": 1})


def test_runs_of_other_settings_are_no_seeds_of_each_other(finish):
    for gamma in (0, 1):
        folder = finish(
            f"g{gamma}", method="m", bops=1, test_accuracy=0.5 + gamma / 10, entry={"settings": {"gamma": gamma, "seed": gamma}}
        )
    rows = front(load_runs(folder), "bops")
    assert rows[["settings", "runs"]].to_numpy().tolist() == [["gamma 0", 1], ["gamma 1", 1]]
