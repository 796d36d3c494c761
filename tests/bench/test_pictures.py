import pytest
from PIL import Image

from imagic.bench.curves import eta_curve, plot
from imagic.bench.report import load
from imagic.bench.runner import run
from imagic.bench.sheet import CAPTION_HEIGHT, contact_sheet, pick
from imagic.core.errors import OutputError
from tests.bench.fakes import FakeBackbone, FakeMethod, FakeSuite, drain, entry
from tests.bench.test_report import failed, row


@pytest.fixture
def folder(tmp_path):
    methods = [entry(method=FakeMethod(refuse="brown 1")), entry("weak", edit={"eta": 0.25})]
    drain(run(tmp_path, FakeSuite(count=6), methods, FakeBackbone()))
    return tmp_path


def ranked(*values, success=True):
    return [row(str(i), scores={"psnr_truth": value}, success=success) for i, value in enumerate(values)]


def test_the_best_the_median_and_the_worst_are_picked_by_success_then_psnr():
    good, bad = ranked(10, 30, 20, 25, 15), ranked(50, success=False)
    picks = pick(good + bad + [failed("x")], "imagic", 1)
    assert {rank: [each["scores"]["psnr_truth"] for each in rows] for rank, rows in picks.items()} == {
        "best": [30],
        "median": [20],
        "worst": [50],
    }


@pytest.mark.parametrize("size", range(8))
def test_no_row_is_picked_twice(size):
    picks = pick(ranked(*range(size)), "imagic", 2)
    items = [each["item"] for rows in picks.values() for each in rows]
    assert len(items) == len(set(items)) == min(size, 6)


def test_an_infinite_psnr_ranks_first():
    picks = pick(ranked(10, "inf", 20), "imagic", 1)
    assert picks["best"][0]["scores"]["psnr_truth"] == "inf"


def test_of_several_strengths_the_one_with_the_most_successes_is_shown():
    weak = [row(str(i), success=i == 0, strength=0.2) for i in range(3)]
    strong = [row(str(i), success=i > 0, strength=0.8) for i in range(3)]
    picks = pick([*weak, *strong], "imagic", 3)
    assert [each["strength"] for rows in picks.values() for each in rows] == [0.8] * 3


def test_without_a_truth_what_the_text_asks_for_decides_and_then_the_distance():
    unknown = {"success": None, "asked": None, "sweep": [], "measures": {"clip-score": ""}}
    by_text = [row(str(i), **unknown, scores={"clip-score": s, "psnr_input": 9 - s}) for i, s in enumerate((1, 3, 2))]
    assert [each["item"] for each in pick(by_text, "imagic", 3)["best"]] == ["1", "2", "0"]
    near = [row(str(i), **unknown, scores={"psnr_input": s}) for i, s in enumerate((1, 3, 2))]
    assert [each["item"] for each in pick(near, "imagic", 3)["best"]] == ["1", "2", "0"]


def test_the_sheet_shows_the_strips_under_their_captions(folder):
    rows = load(folder)
    sheet = contact_sheet(folder, rows, "fake", count=1)
    assert sheet.size == (64, CAPTION_HEIGHT + 3 * (CAPTION_HEIGHT + 16))
    best = pick(rows, "fake", 1)["best"][0]
    strip = Image.open(folder / best["picture"])
    top = 2 * CAPTION_HEIGHT
    assert sheet.crop((0, top, 64, top + 16)).tobytes() == strip.tobytes()


def test_a_sheet_without_pictures_says_so(folder):
    with pytest.raises(OutputError, match="no result of 'nothing'"):
        contact_sheet(folder, load(folder), "nothing")
    for path in (folder / "images" / "fake").iterdir():
        path.unlink()
    with pytest.raises(OutputError, match="missing"):
        contact_sheet(folder, load(folder), "fake")


def test_the_curve_is_the_mean_at_each_eta_that_all_items_share(folder):
    rows = load(folder)
    del rows[0]["sweep"][1]
    curve = eta_curve(rows, rows[0]["label"])
    assert [point.eta for point in curve] == [0, 0.5, 1]
    assert [point.scores for point in curve] == [{"agreement": eta, "closeness": 1 - eta} for eta in (0, 0.5, 1)]
    assert [point.success for point in curve] == [0, 0, 1]
    assert curve[0].psnr_input == float("inf")
    assert [point.items for point in curve] == [5, 5, 5]


def test_of_two_looks_at_one_eta_the_first_counts():
    sweep = [{"eta": 0.0, "scores": {"agreement": a}, "psnr_input": a, "success": None} for a in (1.0, 9.0)]
    (point,) = eta_curve([row("a", sweep=sweep)], "imagic")
    assert (point.psnr_input, point.success) == (1.0, None)


def test_the_curve_averages_over_items():
    sweeps = [[{"eta": 0.5, "scores": {"agreement": a}, "psnr_input": p, "success": s}] for a, p, s in
              ((1.0, 10.0, True), (3.0, 20.0, False), (5.0, 60.0, None))]  # fmt: skip
    (point,) = eta_curve([row(str(i), sweep=sweep) for i, sweep in enumerate(sweeps)], "imagic")
    assert (point.scores, point.psnr_input, point.success) == ({"agreement": 3.0}, 30.0, 0.5)


def test_rows_without_a_common_eta_have_no_curve():
    with pytest.raises(OutputError, match="no eta in common"):
        eta_curve([row("a", sweep=[]), row("b")], "imagic")
    with pytest.raises(OutputError, match="no eta in common"):
        eta_curve([], "imagic")


def test_the_plot_is_a_picture_of_all_panels(folder, tmp_path):
    path = tmp_path / "curves.png"
    plot([*load(folder), row("a", label="copy", sweep=[])], ["fake", "copy", "weak"], path)
    picture = Image.open(path)
    assert picture.size == (3 * 480, 2 * 360 + 60)  # two rows of three panels at 120 dots per inch, and the legend
    assert len(picture.convert("RGB").getcolors(1 << 20)) > 10
    assert not list(tmp_path.glob("*.part*"))


def test_without_a_sweep_there_is_nothing_to_plot(tmp_path):
    with pytest.raises(OutputError, match="nothing to plot"):
        plot([row("a", sweep=[]), failed("b")], ["imagic"], tmp_path / "curves.png")
    assert not list(tmp_path.iterdir())
