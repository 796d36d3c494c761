import pytest
from scipy.stats import binomtest

from imagic.bench.report import load, markdown, summarise
from imagic.bench.rows import append
from imagic.bench.tables import Table
from imagic.core.errors import OutputError


def row(item, group="posture", label="imagic", success=True, **changes):
    parts = {"success": success, "asked": success, "kept": True, "individual": True}
    return {
        "item": item, "group": group, "label": label, "seed": 3, "suite": "fakes", "target_text": "it sits",
        "model": {"name": "fake", "fingerprint": "0123456789abcdef"}, "hardware": "abacus, 1 threads",
        "versions": {"python": "3.11.0", "torch": "2.13.0"}, "peak_memory": {"mib": 100.0, "of": "all of it"},
        "error": None, **parts, "delivered": parts, "ceiling": {**parts, "success": True}, "eta": 0.7,
        "sweep": [{"eta": 1.0, "success": True, "scores": {}, "psnr_input": 10.0}],
        "scores": {"psnr_truth": 20.0, "ssim_truth": 0.9, "psnr_kept": 30.0, "ssim_kept": 0.95,
                   "psnr_delivered_kept": 41.0, "psnr_roundtrip_input": 35.0, "psnr_reconstruction_input": 34.0,
                   "psnr_reconstruction_roundtrip": 38.0},
        "seconds": {"fit": 40.0, "edit": 5.0}, **changes,
    }  # fmt: skip


def failed(item, group="posture", label="imagic"):
    whole = row(item, group, label, error="Too dark.")
    kept = ("item", "group", "label", "seed", "suite", "target_text", "model", "hardware", "versions", "peak_memory")
    return {name: whole[name] for name in (*kept, "error")}


def line(rows, label="imagic", group="all"):
    (only,) = [each for each in summarise(rows) if (each.label, each.group) == (label, group)]
    return only


def test_success_is_counted_per_group_and_in_all_with_wilsons_interval():
    rows = [row(f"p{i}", success=i < 3) for i in range(4)] + [row("c0", "colour")]
    assert [(each.group, str(each.success)) for each in summarise(rows)] == [
        ("all", "80% [38%, 96%]"),
        ("posture", "75% [30%, 95%]"),
        ("colour", "100% [21%, 100%]"),
    ]
    interval = binomtest(4, 5).proportion_ci(method="wilson")
    assert f"[{interval.low:.0%}, {interval.high:.0%}]" in str(line(rows).success)


def test_an_error_is_no_success_and_an_unjudged_row_is_no_trial():
    rows = [row("a"), failed("b"), row("c", success=None)]
    all_rows = line(rows)
    assert (all_rows.rows, all_rows.failed, all_rows.unjudged) == (3, 1, 1)
    assert (all_rows.success.successes, all_rows.success.trials) == (1, 2)
    assert (all_rows.kept.successes, all_rows.kept.trials) == (2, 3)
    assert (all_rows.ceiling.successes, all_rows.ceiling.trials) == (2, 2)


def test_best_eta_counts_a_success_anywhere_in_the_sweep():
    nowhere = [{"eta": 1.0, "success": False, "scores": {}, "psnr_input": 10.0}]
    rows = [row("a", success=False), row("b", success=False, sweep=nowhere), row("c", sweep=[])]
    assert (line(rows).success.successes, line(rows).best_eta.successes) == (1, 2)


def test_distances_are_means_and_seconds_medians():
    scores = row("a")["scores"]
    rows = [
        row("a", scores={**scores, "psnr_truth": 10.0}, seconds={"fit": 1.0, "edit": 1.0}),
        row("b", scores={**scores, "psnr_truth": 16.0}, seconds={"fit": 2.0, "edit": 2.0}),
        row("c", scores={"psnr_truth": 40.0}, seconds={"fit": 90.0, "edit": 90.0}, peak_memory={"mib": 7e3, "of": ""}),
    ]
    found = line(rows)
    assert found.scores["psnr_truth"] == pytest.approx(22)
    assert found.scores["psnr_kept"] == pytest.approx(30)
    assert (found.fit_seconds, found.edit_seconds, found.peak_memory_mib) == (2, 2, 7000)


def test_infinite_psnr_stays_infinite_and_missing_values_are_not_available():
    found = line([row("a", scores={"psnr_kept": "inf"}), failed("b")])
    assert found.scores["psnr_kept"] == float("inf")
    assert found.scores["psnr_truth"] is None
    assert line([failed("b")]).fit_seconds is None


def test_the_table():
    table = markdown([row("a"), row("b", success=False), failed("c"), row("a", label="copy", success=None)])
    measured = "20.0 | 0.900 | 30.0 | 0.950 | 41.0 | 35.0 | 34.0 | 38.0 | 40.0 | 5.0 | 100 |"
    expected = [
        "| method | group | items | errors | success | asked | kept | individual | delivered | best eta | ceiling "
        "| PSNR truth | SSIM truth | PSNR kept | SSIM kept | PSNR kept delivered | PSNR coder | PSNR own "
        "| PSNR own to coder | fit s | edit s | memory MiB |",
        "| " + " | ".join(["---"] * 22) + " |",
        f"| imagic | all | 3 | 1 | 33% [6%, 79%] | 33% | 67% | 67% | 33% | 67% | 100% | {measured}",
        f"| imagic | posture | 3 | 1 | 33% [6%, 79%] | 33% | 67% | 67% | 33% | 67% | 100% | {measured}",
        f"| copy | all | 1 | 0 | n/a | n/a | 100% | 100% | n/a | n/a | 100% | {measured}",
        f"| copy | posture | 1 | 0 | n/a | n/a | 100% | 100% | n/a | n/a | 100% | {measured}",
    ]
    assert table.splitlines()[: len(expected)] == expected
    for fact in (
        "- suite: fakes",
        "- model: fake (0123456789ab)",
        "- seed: 3",
        "- hardware: abacus, 1 threads",
        "- versions: python 3.11.0, torch 2.13.0",
        "- memory: all of it",
        "1 rows could not be judged",
        "- imagic on c: Too dark.",
    ):
        assert fact in table


def test_means_have_the_bootstraps_interval_over_items():
    rows = [row(str(i), scores={"psnr_truth": value}) for i, value in enumerate((10.0, 14.0, "inf"))]
    finite = line(rows[:2])
    assert finite.intervals["psnr_truth"] == (10, 14)
    assert finite.intervals["psnr_kept"] is None
    assert line(rows[:1]).intervals["psnr_truth"] is None
    assert line(rows).intervals["psnr_truth"] == (10, float("inf"))


def test_the_table_of_means():
    rows = [
        row(str(i), scores={"psnr_truth": value, "lpips-alex": value / 1e3}) for i, value in enumerate((10.0, 14.0))
    ]
    rows += [row("0", label="copy", success=None, scores={"psnr_truth": 8.0}), failed("1", label="copy")]
    rows[0]["measures"] = {"lpips-alex": ""}
    for each in rows:
        each["not_available"] = {}
    shown = markdown(rows).partition("## Means and their intervals\n\n")[2].splitlines()
    assert shown[:4] == [
        "| method | items | success | PSNR truth | lpips-alex | fit + edit s | memory MiB |",
        "| --- | --- | --- | --- | --- | --- | --- |",
        "| imagic | 2 | 100% [34%, 100%] | 12.0 [10.0, 14.0] | 0.012 [0.01, 0.014] | 45.0 | 100 |",
        "| copy | 2 | 0% [0%, 79%] | 8.0 | n/a | 45.0 | 100 |",
    ]


def test_each_strength_of_a_sweep_is_a_method_of_its_own():
    rows = [row("a", strength=0.4), row("a", strength=0.8, success=False), row("a", label="copy")]
    assert [(each.label, each.success.successes) for each in summarise(rows) if each.group == "all"] == [
        ("imagic at 0.4", 1),
        ("imagic at 0.8", 0),
        ("copy", 1),
    ]


def test_signs_of_markdown_in_a_cell_stay_in_it():
    assert Table(["a"], [["x | y\nz"]]).markdown() == "| a |\n| --- |\n| x \\| y z |"


def test_rows_are_loaded_from_a_folder(tmp_path):
    append(tmp_path / "rows-1-of-2.jsonl", row("a"))
    append(tmp_path / "rows-2-of-2.jsonl", row("b"))
    assert [each["item"] for each in load(tmp_path)] == ["a", "b"]
    with pytest.raises(OutputError, match="no results in empty"):
        load(tmp_path / "empty")
