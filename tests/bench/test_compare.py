from pathlib import Path

import pytest
from scipy.stats import binomtest

from imagic.bench.bootstrap import bootstrap
from imagic.bench.compare import compare, compare_runs, compare_within, table
from imagic.core.errors import OutputError
from tests.bench.test_report import failed, row

A, B = Path("runs/a"), Path("runs/b")


def rows_of(label, outcomes, psnr=20.0, **changes):
    values = psnr if isinstance(psnr, list) else [psnr] * len(outcomes)
    return [
        row(f"item{i}", label=label, success=success, scores={"psnr_truth": value}, **changes)
        for i, (success, value) in enumerate(zip(outcomes, values, strict=True))
    ]


def test_success_is_compared_on_the_items_that_differ():
    first = rows_of("new", [True] * 9 + [False] * 3 + [True] * 5)
    second = rows_of("old", [False] * 9 + [True] * 3 + [True] * 5)
    found = compare("new", first, "old", second)
    assert (found.items, found.judged, found.won, found.lost) == (17, 17, 9, 3)
    assert found.p_value == pytest.approx(binomtest(9, 12).pvalue)


def test_pairs_are_made_by_item_in_any_order_and_only_of_those_that_both_have():
    first = rows_of("new", [True, True, False], [30.0, 20.0, 10.0])
    second = rows_of("old", [False, True], [25.0, 21.0])[::-1]
    found = compare("new", first, "old", second)
    assert (found.items, found.won, found.lost) == (2, 1, 0)
    (difference,) = found.differences
    assert (difference.name, difference.items) == ("psnr_truth", 2)
    assert difference.mean == pytest.approx(2)
    assert difference.interval == bootstrap([5.0, -1.0]) == (-1.0, 5.0)


def test_an_error_is_no_success_and_what_was_not_judged_is_no_pair():
    first = [row("a"), row("b"), row("c", success=None)]
    second = [failed("a", label="old"), row("b", label="old"), row("c", label="old", success=False)]
    found = compare("new", first, "old", second)
    assert (found.items, found.judged, found.won, found.lost) == (3, 2, 1, 0)
    assert {each.items for each in found.differences} == {2}


def test_without_a_judge_only_the_numbers_are_compared():
    found = compare("new", rows_of("new", [None, None]), "old", rows_of("old", [None, None]))
    assert (found.judged, found.p_value) == (0, None)
    assert found.differences[0].mean == 0


def test_two_infinite_values_are_equal_and_one_alone_has_no_difference():
    equal = compare("a", rows_of("a", [True] * 2, ["inf", 20.0]), "b", rows_of("b", [True] * 2, ["inf", 18.0]))
    assert equal.differences[0].mean == pytest.approx(1)
    lone = compare("a", rows_of("a", [True] * 2, ["inf", 20.0]), "b", rows_of("b", [True] * 2, [18.0, 18.0]))
    assert (lone.differences[0].mean, lone.differences[0].p_value) == (None, None)
    assert table([lone]).body[0][-1] == "n/a"


def test_runs_are_compared_method_by_method_and_strength_by_strength():
    first = [*rows_of("sdedit", [True], strength=0.4), *rows_of("sdedit", [False], strength=0.8), row("item0")]
    second = [*rows_of("sdedit", [False], strength=0.4), *rows_of("sdedit", [False], strength=0.8)]
    found = compare_runs(first, second, A, B)
    assert [(each.first, each.second, each.won) for each in found] == [
        ("sdedit at 0.4 in a", "sdedit at 0.4 in b", 1),
        ("sdedit at 0.8 in a", "sdedit at 0.8 in b", 0),
    ]


def test_runs_of_one_method_each_are_compared_under_any_name():
    (found,) = compare_runs(rows_of("new", [True]), rows_of("old", [False]), A, Path("other/a"))
    assert (found.first, found.second) == (f"new in {A}", f"old in {Path('other/a')}")


def test_runs_with_nothing_in_common_say_so():
    with pytest.raises(OutputError, match="runs a and b have no method in common"):
        compare_runs([row("a"), row("a", label="x")], [row("a", label="y")], A, B)
    with pytest.raises(OutputError, match="no item in common"):
        compare_runs([row("a")], [row("b")], A, B)
    with pytest.raises(OutputError, match="no item in common"):
        compare_runs([row("a")], [row("a", target_text="it stands")], A, B)


def test_every_other_method_is_compared_with_the_baseline():
    rows = [row("a"), row("a", label="copy", success=False), row("a", label="generate", success=False)]
    found = compare_within(rows, "copy")
    assert [(each.first, each.second, each.won) for each in found] == [("imagic", "copy", 1), ("generate", "copy", 0)]
    with pytest.raises(OutputError, match="choose among imagic, copy, generate"):
        compare_within(rows, "kopy")
    with pytest.raises(OutputError, match="nothing to compare 'imagic' with"):
        compare_within([row("a")], "imagic")


def test_the_table():
    first = rows_of("new", [True] * 12, [22.0, 24.0] * 6)
    found = table([compare("new", first, "old", rows_of("old", [False] * 12, 20.0))])
    assert found.header == ["first", "second", "items", "won : lost", "p", "psnr_truth"]
    low, high = bootstrap([2.0, 4.0] * 6)
    assert found.body == [["new", "old", "12", "12 : 0", "< 0.001", f"+3 [{low:+.3g}, {high:+.3g}], p < 0.001"]]


def test_swept_methods_are_compared_at_equal_strengths():
    rows = [
        *(row for at in (0.4, 0.8) for row in rows_of("sdedit", [True], strength=at)),
        *(row for at in (0.4, 0.6) for row in rows_of("ddib", [False], strength=at)),
        *rows_of("copy", [False]),
    ]
    assert [(each.first, each.second) for each in compare_within(rows, "ddib")] == [("sdedit at 0.4", "ddib at 0.4")]
    named = compare_within(rows, "sdedit at 0.8")
    assert [each.first for each in named] == ["sdedit at 0.4", "ddib at 0.4", "ddib at 0.6", "copy"]
