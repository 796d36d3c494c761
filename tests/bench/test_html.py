"""The page of a run: complete, safe, and readable by a parser of XML where it holds figures."""

import base64
import io
import re
from html.parser import HTMLParser
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

from imagic.bench import documents, html
from imagic.bench.charts import charts, trade_off_axes
from imagic.bench.tables import Table
from imagic.core.errors import OutputError
from tests.bench.test_report import failed, row

HOSTILE = '<script>alert("$x$")</script>'
SVG = "{http://www.w3.org/2000/svg}"
VOID = {"meta", "img"}


class Checked(HTMLParser):
    """Balanced tags, unique ids, and every address that the page asks for."""

    def __init__(self, text):
        super().__init__()
        self.open, self.ids, self.addresses, self.tags, self.text = [], [], [], [], ""
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        if tag not in VOID:
            self.open.append(tag)
        values = dict(attributes)
        self.ids += [values["id"]] if "id" in values else []
        self.addresses += [value for name, value in attributes if name in ("src", "href", "xlink:href", "srcset")]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_startendtag(self, tag, attributes):
        self.handle_starttag(tag, attributes)
        if tag not in VOID:
            self.handle_endtag(tag)

    def handle_data(self, data):
        self.text += data


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A run's folder with one picture."""
    folder = tmp_path_factory.mktemp("run")
    strip = np.zeros((600, 2400, 3), dtype=np.uint8)
    strip[:, 1200:1800] = (200, 40, 90)
    Image.fromarray(strip).save(folder / "strip.png")
    return folder


@pytest.fixture(scope="module")
def rows():
    """Three methods, one of them swept, one with a hostile name, and an error; all show the same picture."""
    look = [{"eta": eta, "success": True, "scores": {"agreement": eta}, "psnr_input": 20.0} for eta in (0.0, 1.0)]
    made = [
        row(f"{HOSTILE}{i}", group=("posture", "coat")[i % 2], label=label, success=i < 2, strength=strength,
            picture="strip.png", target_text="sit & stay", sweep=look if label == "imagic" else [],
            scores={**row("a")["scores"], "psnr_input": "inf" if label == HOSTILE else 20.0 + 10 * (strength or 0)})
        for label, strengths in (("sdedit", (0.4, 0.8)), ("imagic", (None,)), (HOSTILE, (None,)))
        for strength in strengths
        for i in range(4)
    ]  # fmt: skip
    return [*made, failed("late", label="imagic")]


@pytest.fixture(scope="module")
def drawn(rows):
    return charts(rows, trade_off_axes(rows))


@pytest.fixture(scope="module")
def page(folder, rows, drawn):
    """The text of the page."""
    return html.page(folder, rows, drawn, more=[Table(["a"], [["b < c"]], "More", "noted")])


def test_the_page_is_whole_and_loads_nothing(page):
    checked = Checked(page)
    assert len(checked.ids) == len(set(checked.ids)) > 100
    assert all(address.startswith(("#", "data:image/jpeg;base64,")) for address in checked.addresses)
    assert not {"script", "link", "iframe", "object"} & set(checked.tags)
    assert not re.findall(r"url\((?!#)", page)
    assert "default-src 'none'" in page
    for part in ("sdedit at 0.4", "33%", "Means and their intervals", "b < c", "noted", "Too dark.", "sit & stay"):
        assert part in checked.text
    for title in ("Trade-off: asked against PSNR to the input", "agreement against eta", "Time against success",
                  "success per group"):  # fmt: skip
        assert title in checked.text


def test_what_the_rows_say_is_never_code(page):
    assert "<script" not in page
    assert HOSTILE in Checked(page).text


def test_figures_take_the_ink_of_the_page_and_show_what_they_should(drawn):
    roots = {chart.name: ElementTree.fromstring(chart.svg) for chart in drawn}
    assert len(roots) == 6
    for root in roots.values():
        assert "width" not in root.attrib
        assert "viewBox" in root.attrib
        texts = list(root.iter(f"{SVG}text"))
        assert texts
        assert all("currentColor" in each.attrib["style"] for each in texts)
    said = {"".join(each.itertext()) for each in roots["trade-off-0"].iter()}
    assert {"0.4", "0.8", "sdedit", "imagic", HOSTILE, "PSNR to the input (dB, higher is better)"} <= said


def test_distance_grows_to_the_right_and_seconds_are_plain_numbers(drawn):
    roots = {chart.name: ElementTree.fromstring(chart.svg) for chart in drawn}
    ticks = [
        (float(each.attrib["x"]) if "x" in each.attrib else place(each), float(each.text))
        for group in roots["trade-off-0"].iter(f"{SVG}g")
        if group.attrib.get("id", "").startswith("trade-off-0-xtick")
        for each in group.iter(f"{SVG}text")
    ]
    assert len(ticks) > 2
    assert [value for _, value in sorted(ticks)] == sorted((value for _, value in ticks), reverse=True)
    assert "mathdefault" not in ElementTree.tostring(roots["time"]).decode()


def place(text):
    """The x of a text that is placed by a transform, "translate(x y)"."""
    return float(re.search(r"translate\(([\d.]+)", text.attrib["transform"])[1])


def test_figures_are_files_of_their_own_for_light_and_dark(rows, tmp_path):
    paths = documents.write_figures(tmp_path / "figures", rows)
    assert [path.name for path in paths] == [
        "trade-off-0.svg", "eta-0.svg", "eta-1.svg", "eta-2.svg", "time.svg", "groups.svg"
    ]  # fmt: skip
    for path in paths:
        root = ElementTree.fromstring(path.read_text())
        assert root.tag == f"{SVG}svg"
        assert "prefers-color-scheme: dark" in root[0].text
    with pytest.raises(OutputError, match="exists already"):
        documents.write_figures(tmp_path / "figures", rows)


def test_the_figures_of_the_same_rows_are_the_same(rows, drawn):
    assert charts(rows, trade_off_axes(rows)) == drawn


def test_pictures_are_embedded_and_made_smaller(page):
    uris = [each for each in Checked(page).addresses if each.startswith("data:")]
    assert len(uris) == 12  # four items of each method; of the swept one at one strength
    picture = Image.open(io.BytesIO(base64.b64decode(uris[0].partition(",")[2])))
    assert picture.size == (html.MAX_WIDTH, 256)
    assert np.abs(np.array(picture)[128, 640].astype(int) - (200, 40, 90)).max() < 8


def test_a_missing_picture_is_said_and_the_rest_stands(rows, tmp_path):
    text = Checked(html.page(tmp_path, rows, [])).text
    assert "The picture strip.png is missing" in text
    assert "Too dark." in text


def test_rows_that_nobody_judged_and_that_have_no_truth_have_a_report(tmp_path):
    unknown = dict.fromkeys(("success", "asked", "kept", "individual"))
    rows = [
        row(f"i{i}", label=label, **unknown, delivered=unknown, ceiling=unknown, sweep=[], eta=None,
            scores={"psnr_input": value + i}, picture="none.png")
        for label, value in (("a", 10.0), ("b", 20.0)) for i in range(2)
    ]  # fmt: skip
    text = Checked(html.page(tmp_path, rows, charts(rows, trade_off_axes(rows)))).text
    assert "4 rows could not be judged" in text
    assert "10.5 [10.0, 11.0]" in text


def test_a_run_of_errors_has_a_report(tmp_path):
    rows = [failed("a")]
    assert "Too dark." in Checked(html.page(tmp_path, rows, charts(rows, trade_off_axes(rows)))).text


def test_the_suffix_chooses_the_kind_and_nothing_is_overwritten_unasked(folder, rows, tmp_path):
    for name, start in (("report.html", "<!DOCTYPE html>"), ("report.md", "| method |")):
        path = tmp_path / name
        documents.write(path, folder, rows)
        assert path.read_text().startswith(start)
        with pytest.raises(OutputError, match="exists already"):
            documents.write(path, folder, rows)
    assert "## Trade-off: asked against PSNR to the input" in (tmp_path / "report.md").read_text()
    with pytest.raises(OutputError, match=r"\.html or \.md"):
        documents.check(tmp_path / "report.pdf")


def test_a_run_without_a_sweep_has_no_table_of_strengths(rows):
    assert "Trade-off" not in documents.markdown([each for each in rows if each.get("strength") is None])
