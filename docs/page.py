"""Writes the picture of the page: `python docs/page.py [METHOD]` serves the bundled model, edits the first example as a
person would in the page, by Imagic if no method is named, and puts what Chromium shows into docs/images/page.png."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from playwright.sync_api import sync_playwright

OUT = Path(__file__).resolve().parent / "images" / "page.png"
QUIET = ("--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update")
PATIENCE = 3_600_000.0  # milliseconds: an edit takes minutes on a slow processor
STRENGTH = "0.6"


def main() -> None:
    with tempfile.TemporaryDirectory() as data:
        command = [sys.executable, "-m", "imagic.cli", "serve", "--port", "0", "--data", data]
        server = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        try:
            assert server.stderr is not None
            told = next(line for line in server.stderr if "Serving at" in line)
            shoot(told.split()[2], *sys.argv[1:])
        finally:
            server.terminate()
            server.wait()


def shoot(address: str, method: str = "imagic") -> None:
    """Make an edit and others from its fit, and take the picture."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=list(QUIET))
        page = browser.new_page(viewport={"width": 1280, "height": 1120}, color_scheme="light")
        page.set_default_timeout(PATIENCE)
        page.goto(address)
        page.get_by_role("button", name="Example: ").first.click()
        page.locator("#picture:visible").wait_for()
        page.get_by_label("Method").select_option(method)
        page.get_by_role("button", name="Make the edit").click()
        finished(page, 1)
        page.get_by_role("button", name="A series of strengths").click()
        finished(page, 6)
        page.get_by_role("slider", name="How far it goes").fill(STRENGTH)
        finished(page, 7)
        page.evaluate("document.activeElement.blur(); scrollTo(0, 0)")
        page.mouse.move(0, 0)
        page.wait_for_load_state("networkidle")
        page.screenshot(path=OUT)
        browser.close()


def finished(page: Any, pictures: int) -> None:
    """Wait until the fit has so many pictures, and one of them is shown."""
    page.locator('#compare:visible img.after[src*="/result"]').wait_for()
    if pictures > 1:
        page.locator(f"#strip a:nth-child({pictures})").wait_for()
    page.locator("#working").wait_for(state="hidden")


if __name__ == "__main__":
    main()
