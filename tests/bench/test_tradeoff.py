import pytest

from imagic.bench.axes import ASKED, PSNR_INPUT, alignments, comparable, distances, qualities
from imagic.bench.charts import trade_off_axes, trade_off_tables
from imagic.bench.tradeoff import trade_offs
from imagic.core.errors import OptionError
from tests.bench.test_report import failed, row


def at(item, strength, psnr, asked=True, label="sdedit", **scores):
    scores = {"psnr_input": psnr, **scores}
    return row(item, label=label, success=asked, scores=scores, strength=strength,
               measures=dict.fromkeys(name for name in scores if not name.startswith("psnr_")))  # fmt: skip


def test_a_curve_is_a_mean_per_strength_over_the_items_that_all_strengths_share():
    rows = [
        at("a", 0.8, 10.0), at("b", 0.8, 20.0), at("c", 0.8, 90.0),
        at("a", 0.4, 30.0, False), at("b", 0.4, 36.0), failed("c", label="sdedit") | {"strength": 0.4},
        at("a", None, 25.0, label="copy"),
    ]  # fmt: skip
    curves = trade_offs(rows, PSNR_INPUT, ASKED)
    shown = {
        label: [(p.strength, p.distance.value, p.alignment.value, p.distance.items) for p in curve]
        for label, curve in curves.items()
    }
    assert shown == {"sdedit": [(0.4, 33, 0.5, 2), (0.8, 15, 1, 2)], "copy": [(None, 25, 1, 1)]}


def test_a_method_without_a_shared_item_has_no_curve():
    assert trade_offs([at("a", 0.4, 1.0), at("b", 0.8, 1.0)], PSNR_INPUT, ASKED) == {}


def test_metrics_sort_themselves_into_alignments_and_distances():
    rows = [at("a", None, 30.0, **{"clip-score": 0.2, "psnr:truth": 1.0, "lpips-alex": 0.3, "l1:edited": 0.1})]
    rows[0]["measures"]["not-installed"] = ""
    assert [axis.name for axis in alignments(rows)] == ["asked", "clip-score"]
    assert [axis.name for axis in distances(rows)] == ["lpips-alex", "psnr_input"]
    assert [axis.higher_is_better for axis in distances(rows)] == [False, True]
    assert [axis.name for axis in qualities(rows)] == ["success", "asked", "clip-score"]
    assert [axis.name for axis in comparable(rows)] == [
        "psnr_input",
        "clip-score",
        "psnr:truth",
        "lpips-alex",
        "l1:edited",
    ]


def test_the_first_distance_is_drawn_against_every_alignment_unless_others_are_named():
    rows = [at("a", None, 30.0, **{"clip-score": 0.2, "lpips-alex": 0.3})]

    def names(**asked):
        return [(x.name, y.name) for x, y in trade_off_axes(rows, **asked)]

    assert names() == [("lpips-alex", "asked"), ("lpips-alex", "clip-score")]
    assert names(distance="psnr_input", alignment="clip-score") == [("psnr_input", "clip-score")]
    with pytest.raises(OptionError, match="choose among lpips-alex, psnr_input"):
        names(distance="dino-structure")
    assert trade_off_axes([failed("a")]) == []


def test_the_points_as_a_table():
    (table,) = trade_off_tables([at("a", 0.4, 30.0), at("b", 0.4, 30.0)], [(PSNR_INPUT, ASKED)])
    assert table.title == "Trade-off: asked against PSNR to the input"
    assert table.body == [["sdedit", "0.4", "2", "30 [30, 30]", "1 [0.3424, 1]"]]
