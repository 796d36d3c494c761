import io

import numpy as np
import pytest
from PIL import Image

from imagic.bench import strips
from imagic.bench.study import open_study, simulate, tally
from imagic.bench.study.questions import Pair
from imagic.core.errors import NotAvailable, OptionError, OutputError
from imagic.core.images import to_rgb
from tests.bench.study.conftest import ITEMS


def preferred(study, baseline=""):
    return {
        (each.method, each.opponent): (each.preferred.successes, each.preferred.trials)
        for each in tally(study.store.answers(), baseline).preferences
    }


def test_all_pairs_of_all_items_are_compared(run_folder, rows, tmp_path):
    study = open_study(run_folder, rows, tmp_path / "s")
    assert len(study.pairs) == 3 * ITEMS
    assert Pair("item/0", "poor", "good") in study.pairs


def test_methods_baseline_and_groups_choose_what_is_compared(run_folder, rows, tmp_path):
    def pairs(**chosen):
        return {(pair.item, frozenset((pair.first, pair.second))) for pair in
                open_study(run_folder, rows, tmp_path / "s", **chosen).pairs}  # fmt: skip

    assert {both for _, both in pairs(baseline="good")} == {frozenset(("good", "poor")), frozenset(("good", "fair"))}
    assert {both for _, both in pairs(methods=["fair", "poor"])} == {frozenset(("fair", "poor"))}
    assert {both for _, both in pairs(methods=["fair"], baseline="good")} == {frozenset(("fair", "good"))}
    assert {item for item, _ in pairs(groups=["coat"])} == {"item/1", "item/3", "item/5"}
    for wrong, said in (
        ({"methods": ["gut"]}, "method 'gut': choose among poor, good, fair"),
        ({"baseline": "gut"}, "method 'gut'"),
        ({"groups": ["gut"]}, "group 'gut': choose among posture, coat"),
        ({"methods": ["good"]}, "two results"),
    ):
        with pytest.raises(OptionError, match=said):
            open_study(run_folder, rows, tmp_path / "unused", **wrong)
    assert not (tmp_path / "unused").exists()


def test_strengths_of_a_sweep_are_methods_of_their_own(run_folder, rows, tmp_path):
    swept = [{**row, "strength": {"good": 0.9, "fair": 0.5}[row["label"]], "label": "imagic"} for row in rows
             if row["label"] != "poor"] + [row for row in rows if row["label"] == "poor"]  # fmt: skip
    study = open_study(run_folder, swept, tmp_path / "s", baseline="imagic")
    assert {frozenset((pair.first, pair.second)) for pair in study.pairs} == {
        frozenset(("imagic at 0.9", "poor")),
        frozenset(("imagic at 0.5", "poor")),
    }
    simulate(study)
    assert preferred(study, "imagic") == {
        ("imagic at 0.5", "poor"): (ITEMS, ITEMS),
        ("imagic at 0.9", "poor"): (ITEMS, ITEMS),
    }
    one = open_study(run_folder, swept, tmp_path / "t", methods=["imagic at 0.9", "poor"])
    assert {pair.second for pair in one.pairs} | {pair.first for pair in one.pairs} == {"imagic at 0.9", "poor"}


def test_items_without_two_results_are_left_out(run_folder, rows, tmp_path):
    failed = {**next(row for row in rows if row["item"] == "item/0" and row["label"] == "good"), "error": "Too dark."}
    study = open_study(run_folder, [failed, *rows[3:]], tmp_path / "s")
    assert "item/0" not in {pair.item for pair in study.pairs}
    assert len(study.pairs) == 3 * (ITEMS - 1)


def test_the_simulated_rater_finds_the_known_order(run_folder, rows, tmp_path):
    study = open_study(run_folder, rows, tmp_path / "s")
    simulate(study)
    everything = (ITEMS, ITEMS)
    assert preferred(study) == {("good", "poor"): everything, ("good", "fair"): everything,
                                ("fair", "poor"): everything}  # fmt: skip
    found = tally(study.store.answers())
    assert list(found.ratings) == ["good", "fair", "poor"]
    (rater,) = found.raters
    assert (rater.name, rater.answers, rater.repetitions, rater.agreed) == ("simulated", 18, 1, 1)


def changed(rows, changes):
    """Rows with the success and the PSNR of some labels changed."""
    return [
        {
            **row,
            "success": changes[row["label"]][0],
            "scores": {**row["scores"], "psnr_truth": changes[row["label"]][1]},
        }
        for row in rows
        if row["label"] in changes
    ]


@pytest.mark.parametrize(
    ("good", "fair"),
    [
        ((True, 10.0), (False, 90.0)),  # success comes before closeness
        ((True, 11.0), (True, 10.0)),
        ((False, 11.0), (False, 10.0)),
        ((None, 11.0), (None, 10.0)),
        ((True, "inf"), (True, 10.0)),
    ],
)
def test_success_decides_and_then_closeness(run_folder, rows, tmp_path, good, fair):
    study = open_study(run_folder, changed(rows, {"good": good, "fair": fair}), tmp_path / "s")
    simulate(study)
    assert preferred(study) == {("good", "fair"): (ITEMS, ITEMS)}


def test_results_that_are_alike_are_tossed_for_and_the_coin_is_true_to_itself(run_folder, rows, tmp_path):
    many = [{**row, "item": f"{row['item']}-{copy}"} for copy in range(40)
            for row in changed(rows, {"good": (True, 10.0), "fair": (True, 10.0)})]  # fmt: skip
    study = open_study(run_folder, many, tmp_path / "s")
    simulate(study)
    ((won, of),) = preferred(study).values()
    assert of == 40 * ITEMS
    assert won / of < 0.63  # four standard deviations
    (rater,) = tally(study.store.answers()).raters
    assert rater.repetitions == rater.agreed == 24


def test_without_a_truth_nobody_can_be_simulated(run_folder, rows, tmp_path):
    blind = [{**row, "scores": {}} for row in rows]
    study = open_study(run_folder, blind, tmp_path / "s")
    with pytest.raises(NotAvailable, match="not known"):
        simulate(study)


def test_the_pictures_are_those_of_the_run_and_on_the_right_sides(run_folder, rows, tmp_path):
    study = open_study(run_folder, rows, tmp_path / "s")
    token = study.join("Jo")
    shown = study.present(token)
    question = shown.question
    by_arm = {row["label"]: row for row in rows if row["item"] == question.item}
    assert shown.text == by_arm["good"]["target_text"]
    for which, panel, arm in (("input", "input", "good"), ("left", "result", question.left),
                              ("right", "result", question.right)):  # fmt: skip
        served = np.asarray(Image.open(io.BytesIO(study.picture(token, question.number, which))))
        assert np.array_equal(served, to_rgb(strips.panel(run_folder, by_arm[arm]["picture"], panel)))
    assert study.picture(token, question.number, "left") != study.picture(token, question.number, "right")
    for wrong in (("nobody", 1), (token, 99)):
        with pytest.raises(KeyError):
            study.picture(*wrong, "left")


def test_each_rater_has_an_order_of_their_own_and_goes_on_after_a_restart(run_folder, rows, tmp_path):
    study = open_study(run_folder, rows, tmp_path / "s")
    first, second = study.join("Jo"), study.join("Mo")
    items = [[each.item for each, _ in study.store.questions(token)] for token in (first, second)]
    assert items[0] != items[1]
    study.store.answer(first, {1: "left"})
    later = open_study(run_folder, rows, tmp_path / "s", methods=["good", "fair"])
    assert later.present(first).question.number == 2
    assert later.present(second).question.number == 1
    gone = open_study(run_folder, [row for row in rows if row["item"] == "item/0"], tmp_path / "s")
    item = later.present(second).question.item
    assert item != "item/0"
    with pytest.raises(OutputError, match="no longer"):
        gone.present(second)
