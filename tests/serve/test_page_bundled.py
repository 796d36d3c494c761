"""The page over the model that ships, in the program as it is started: a whole edit, with the server killed in it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import psutil
import pytest

from imagic.serve.settings import Settings
from tests.browsing import chromium, needs_browser, until, visiting
from tests.serve.servers import PATIENCE, Server

pytestmark = [*needs_browser, pytest.mark.timeout(1200)]
# As little work as shows all: enough steps to be killed in, pictures of whatever quality.
FEW = {"embedding_steps": 60, "embedding_pairs": 1, "network_steps": 2, "network_pairs": 1, "measured_pairs": 2}
FEW |= {"num_steps": 4, "candidates": 3, "refine": 0, "search_steps": 2, "agreement_pairs": 2}


def test_an_edit_whose_server_is_killed_in_the_middle(tmp_path: Path) -> None:
    settings = Settings(tmp_path / "data", checkpoint_seconds=0.0, preview_seconds=0.2)
    with Server(settings) as server, chromium() as browser:
        address = f"127.0.0.1:{server.port}"
        with visiting(browser, address) as page:
            page.set_default_timeout(1000 * PATIENCE)
            page.goto("/")
            page.get_by_role("button", name="Example: ").first.click()
            page.locator("#picture:visible").wait_for()
            text = page.get_by_label("What should it show?").input_value()
            assert text
            page.get_by_text("All options").click()
            for name, value in FEW.items():
                label = name.replace("_", " ").capitalize()
                page.locator("#composer").get_by_label(label, exact=True).fill(str(value))
            page.get_by_role("button", name="Make the edit").click()
            page.locator("#working-words").get_by_text("left of this stage").wait_for()

            worker = server.worker()
            server.process.kill()
            server.process.wait()
            page.get_by_text("The service is away; the edit goes on when it is back.").wait_for()
            page.locator("#service").get_by_text("does not answer").wait_for()
            psutil.wait_procs([worker], timeout=20)
            server.start()
            edit = ended(server, page)
            assert (edit["state"], edit["error"], edit["text"]) == ("done", None, text)
            shows(page, edit["id"])
            page.locator("#service").get_by_text("ready", exact=True).wait_for()

            # Auto found a strength; the slider stands there, and another one takes seconds.
            slider = page.get_by_role("slider", name="How far it goes (eta)")
            assert float(slider.input_value()) == pytest.approx(edit["images"][0]["strength"], abs=0.026)
            slider.fill("0.35")
            page.locator('#strip a[aria-current]:has-text("eta 0.35")').wait_for()
            again = server.get("/edits")["edits"][0]
            assert (again["again_of"], again["fit_seconds"] < edit["fit_seconds"]) == (edit["id"], True)
            shows(page, again["id"])
        # Both are there in a browser that never saw them.
        with visiting(browser, address) as page:
            page.goto("/")
            cards = page.locator("#history li")
            cards.nth(1).get_by_role("link").click()
            shows(page, edit["id"])
            assert cards.count() == 2


def ended(server: Server, page: Any) -> Any:
    """The one edit, when it has ended; the page goes on meanwhile."""

    def found() -> Any:
        page.wait_for_timeout(100)
        (edit,) = server.get("/edits")["edits"]
        return edit if edit["ended"] else None

    return server.until(found)


def shows(page: Any, id: str) -> None:
    """The edit's result lies over its input, both of the example's size."""
    page.locator(f'#compare:visible img.after[src*="{id}/result"]').wait_for()
    images = "[...document.querySelectorAll('#compare img')]"
    until(page, lambda: page.evaluate(f"{images}.every((image) => image.naturalWidth === 384)"))
