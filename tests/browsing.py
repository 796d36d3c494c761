"""Pages in a real browser: the Chromium of the system, headless, and what a page may not do while it is looked at."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any
from urllib.parse import urlsplit

import pytest

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
QUIET = (
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync"),
)
needs_browser = [
    pytest.mark.e2e,
    pytest.mark.skipif(BROWSER is None, reason="needs Chromium: install it on the system"),
    pytest.mark.skipif(find_spec("playwright") is None, reason="needs playwright: pip install 'imagic[e2e]'"),
]


@contextmanager
def chromium() -> Iterator[Any]:
    """The browser of the system."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=BROWSER, args=list(QUIET))
        yield browser
        browser.close()


@contextmanager
def visiting(browser: Any, address: str, width: int = 1280, **context: Any) -> Iterator[Any]:
    """A page of its own for the block, which asks nobody but `address`, host:port, and has no error of a script and no
    refusal by its content security policy."""
    opened = browser.new_context(viewport={"width": width, "height": 844}, base_url=f"http://{address}", **context)
    page = opened.new_page()
    hosts: set[str] = set()
    wrong: list[str] = []
    page.on("request", lambda request: hosts.add(urlsplit(request.url).netloc or urlsplit(request.url).scheme))
    page.on("pageerror", lambda error: wrong.append(str(error)))
    # What the service refuses, and while it is away, the browser reports by itself: that is no error of the page.
    page.on(
        "console",
        lambda message: (
            wrong.append(message.text)
            if message.type in ("error", "warning") and not message.text.startswith("Failed to load resource")
            else None
        ),
    )
    yield page
    opened.close()
    assert not wrong, wrong
    assert address in hosts
    assert hosts <= {address, "blob", "data"}, f"a request left the machine: {hosts}"


def until(page: Any, holds: Callable[[], Any]) -> Any:
    """Wait for something true, and give it. Playwright's own wait for a condition of the page evaluates text in it,
    which our content security policy forbids."""
    for _ in range(600):
        if value := holds():
            return value
        page.wait_for_timeout(100)
    raise AssertionError("it did not come about")
