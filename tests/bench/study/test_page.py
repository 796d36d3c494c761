"""The page in a real browser: the whole study by mouse and by keyboard, at two widths, without a request elsewhere."""

from urllib.parse import urlsplit

import pytest

from imagic.bench.study import open_study
from tests.bench.study.test_server import serving
from tests.browsing import chromium, needs_browser

pytestmark = needs_browser


@pytest.fixture(scope="module")
def browser():
    with chromium() as browser:
        yield browser


@pytest.mark.parametrize("width", [1200, 390])
def test_a_whole_study_in_chromium(browser, run_folder, rows, tmp_path, width):
    study = open_study(run_folder, rows, tmp_path / "study.sqlite", methods=["good", "poor"])
    with serving(study) as server:
        context = browser.new_context(viewport={"width": width, "height": 800})
        page = context.new_page()
        elsewhere, wrong = [], []
        page.on(
            "request",
            lambda request: (
                elsewhere.append(request.url)
                if urlsplit(request.url).netloc != f"127.0.0.1:{server.server_port}"
                and not request.url.startswith("data:")
                else None
            ),
        )
        page.on("console", lambda message: wrong.append(message.text))
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.goto(server.url)
        page.get_by_label("Your name").fill("Jo")
        page.get_by_role("button", name="Begin").click()
        for number in range(1, 8):
            page.get_by_text(f"Question {number} of 7").wait_for()
            page.wait_for_load_state("load")
            assert page.title() == f"Question {number} of 7"
            widths = page.evaluate("[...document.images].map((image) => image.complete && image.naturalWidth)")
            assert widths == [16, 16, 16]
            assert page.evaluate("document.documentElement.scrollWidth") <= width
            left, right = (
                page.get_by_role("button", name=f"The {side} one").bounding_box() for side in ("left", "right")
            )
            assert left["x"] + left["width"] <= right["x"]
            if number % 2:
                page.get_by_role("button", name="The right one is better").click()
            else:
                page.keyboard.press("ArrowLeft")
        page.get_by_role("heading", name="That was all").wait_for()
        choices = [each.choice for each in study.store.answers()]
        assert choices == ["right", "left", "right", "left", "right", "left", "right"]
        assert (elsewhere, wrong) == ([], [])
        context.close()


def test_it_works_without_scripts(browser, run_folder, rows, tmp_path):
    study = open_study(run_folder, rows, tmp_path / "study.sqlite")
    with serving(study) as server:
        context = browser.new_context(java_script_enabled=False)
        page = context.new_page()
        page.goto(server.url)
        page.get_by_role("button", name="Begin").click()
        page.get_by_role("button", name="The left one is better").click()
        page.get_by_text("Question 2 of").wait_for()
        (answer,) = study.store.answers()
        assert (answer.name, answer.choice) == ("anonymous", "left")
        context.close()
