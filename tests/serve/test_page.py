"""The page in Chromium over a tiny model: what a person does there, and what the service has of it afterwards."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from imagic.backbones.stable_diffusion import StableDiffusionBackbone
from imagic.serve.keys import open_key
from imagic.serve.settings import Settings
from imagic.serve.store import Job, JobState
from tests.browsing import chromium, needs_browser, until, visiting
from tests.keeping import PIXELS
from tests.serve.conftest import encoded
from tests.serve.sites import Site
from tests.test_api import EDIT, FIT, TEXT

pytestmark = [*needs_browser, pytest.mark.timeout(600)]
PATIENCE = 60_000.0  # milliseconds
NAMED = {"button", "checkbox", "combobox", "link", "radio", "slider", "spinbutton", "textbox", "DisclosureTriangle"}
NAMED |= {"application", "dialog", "form", "navigation", "progressbar", "region"}


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as browser:
        yield browser


@pytest.fixture
def site(settings: Settings, backbone: StableDiffusionBackbone) -> Iterator[Site]:
    with Site(settings, backbone) as site:
        yield site


@pytest.fixture
def page(browser: Any, site: Site) -> Iterator[Any]:
    with visiting(browser, site.address) as page:
        entered(page)
        yield page


def entered(page: Any) -> None:
    page.set_default_timeout(PATIENCE)
    page.goto("/")
    page.get_by_role("button", name="Example: ").first.wait_for()


def picked(page: Any, data: bytes | None = None, name: str = "photo.png") -> None:
    file = {"name": name, "mimeType": "image/png", "buffer": encoded() if data is None else data}
    page.get_by_label("Choose").set_input_files(file)


def options(page: Any, values: dict[str, Any]) -> None:
    page.get_by_text("All options").click()
    for name, value in values.items():
        label = name.replace("_", " ").capitalize()
        page.locator("#composer").get_by_label(label, exact=True).fill(str(value))


def asked(page: Any, text: str = TEXT, **values: Any) -> None:
    """Fill the form with as little work as the method allows, and send it."""
    picked(page)
    page.get_by_label("What should it show?").fill(text)
    options(page, FIT | EDIT | values)
    page.get_by_text("Strength and seeds").click()
    page.get_by_label("Strength (eta)").fill("1")
    page.get_by_role("button", name="Make the edit").click()


def jobs(site: Site) -> list[Job]:
    return site.store.page(100)


def done(page: Any, site: Site, count: int) -> Job:
    """The newest edit, once there are so many, all done, and the page shows its picture."""
    until(page, lambda: len(jobs(site)) == count and all(each.state is JobState.DONE for each in jobs(site)))
    newest = jobs(site)[0]
    page.locator(f'#compare:visible img.after[src*="{newest.id}/result"]').wait_for()
    return newest


def shown(page: Any) -> tuple[int, int]:
    """Widths in pixels of the two pictures that lie over each other."""
    images = "[...document.querySelectorAll('#compare img')]"
    until(page, lambda: page.evaluate(f"{images}.every((image) => image.complete && image.naturalWidth)"))
    before, after = page.evaluate(f"{images}.map((image) => image.naturalWidth)")
    return before, after


def complaint(page: Any) -> str:
    text: str = page.locator("#complaint:visible").inner_text()
    assert text.endswith(".")
    assert "\n" not in text
    return text


def all_named(page: Any) -> bool:
    """Whether Chromium itself finds a name for everything that a person can use or go to. It looks a little later than
    things are shown."""
    session = page.context.new_cdp_session(page)
    nodes = session.send("Accessibility.getFullAXTree")["nodes"]
    session.detach()
    seen = [node for node in nodes if not node["ignored"] and node["role"]["value"] in NAMED]
    enough = len(seen) >= 4  # the key's dialog has the fewest
    return enough and all(node.get("name", {}).get("value", "").strip() for node in seen)


def test_from_a_picture_to_its_edits(page: Any, site: Site) -> None:
    asked(page)
    first = done(page, site, 1)
    assert {name: first.request[name] for name in ("text", "method", "strength", "seed", "num_seeds", "plain")} == {
        "text": TEXT,
        "method": "imagic",
        "strength": 1.0,
        "seed": 0,
        "num_seeds": 1,
        "plain": False,
    }
    assert first.request["options"] == FIT | EDIT
    assert shown(page) == (40, 40)
    assert page.title() == f"{TEXT} – imagic"

    # The slider lies over the finished fit: another strength gives another picture, and learns nothing.
    slider = page.get_by_role("slider", name="How far it goes (eta)")
    assert slider.input_value() == "1"
    slider.fill("0.4")
    second = done(page, site, 2)
    assert (second.parent, second.request["strength"], second.request["seed"]) == (first.id, 0.4, 0)
    strip = page.get_by_role("group", name="Pictures of this fit").get_by_role("link")
    assert strip.all_inner_texts() == ["eta 1, seed 0", "eta 0.4, seed 0"]
    # What was made already is only shown again.
    slider.fill("1")
    page.locator(f'#compare img.after[src*="{first.id}/result"]').wait_for()
    assert len(jobs(site)) == 2
    strip.nth(1).click()
    page.locator(f'#compare img.after[src*="{second.id}/result"]').wait_for()

    page.get_by_role("button", name="Another seed").click()
    third = done(page, site, 3)
    assert (third.parent, third.request["strength"], third.request["seed"]) == (second.id, 0.4, 1)
    page.get_by_role("button", name="A series of strengths").click()
    fourth = done(page, site, 4)
    assert fourth.request["strength"] == [0, 0.25, 0.5, 0.75, 1]
    assert strip.count() == 3 + 5
    strip.last.click()
    page.locator(f'#compare img.after[src$="{fourth.id}/result?index=4"]').wait_for()

    downloads = page.get_by_role("navigation", name="Downloads").get_by_role("link")
    assert downloads.all_inner_texts() == ["Picture", "Sheet", "Animation", "State"]
    files = ("result-4.png", "sheet.png", "animation.webp", "state.safetensors")
    for link, name in zip(downloads.all(), files, strict=True):
        with page.expect_download() as download:
            link.click()
        assert download.value.suggested_filename == f"imagic-{fourth.id[:8]}-{name}"
        assert Path(download.value.path()).read_bytes() == site.file(fourth.id, name).read_bytes()

    # The address says what is shown, and the history is the service's.
    page.reload()
    page.locator(f'#compare img.after[src$="{fourth.id}/result?index=4"]').wait_for()
    until(page, lambda: page.get_by_role("listitem").filter(has_text=TEXT).count() == 4)
    page.get_by_role("listitem").last.get_by_role("link").click()
    page.locator(f'#compare img.after[src*="{first.id}/result"]').wait_for()
    page.on("dialog", lambda dialog: dialog.accept())
    page.get_by_role("listitem").first.get_by_role("button", name="Delete: ").click()
    until(page, lambda: len(jobs(site)) == 3)
    until(page, lambda: page.get_by_role("listitem").filter(has_text=TEXT).count() == 3)


def test_before_and_after_by_keyboard(page: Any, site: Site) -> None:
    asked(page)
    done(page, site, 1)
    slider = page.get_by_role("slider", name="Before and after")
    slider.focus()
    page.keyboard.press("Home")
    assert slider.get_attribute("aria-valuetext") == "100 % of the result is shown"
    after = page.locator("#compare img.after")
    assert after.evaluate("(image) => getComputedStyle(image).clipPath") == "inset(0px 0px 0px 0%)"
    page.keyboard.press("ArrowRight")
    assert after.evaluate("(image) => getComputedStyle(image).clipPath") == "inset(0px 0px 0px 1%)"


def test_progress_preview_queue_and_cancel(page: Any, site: Site) -> None:
    site.working.clear()
    asked(page)
    words = page.locator("#working-words")
    words.get_by_text("Next in the queue.").wait_for()
    # A worker takes it and tells how far it is; it is this test.
    (job,) = jobs(site)
    site.store.lease("other", 600)
    Image.fromarray(PIXELS).save(site.file(job.id, "preview.png"))
    progress = {"stage": "embedding", "step": 30, "total": 120, "seconds_left": 42.4, "values": {}, "preview": 1}
    site.store.prolong(job.id, "other", 600, progress)
    words.get_by_text("Learning the picture as a text: step 30 of 120, about 42 seconds left of this stage.").wait_for()
    assert page.title() == f"25 % · {TEXT} – imagic"
    assert page.get_by_role("progressbar", name="Progress of this edit").evaluate("(bar) => bar.position") == 0.25
    page.locator('#compare img.after[src*="/preview?"]').wait_for()
    assert shown(page) == (40, 40)
    # A second one waits, and is cancelled in the list.
    page.get_by_label("What should it show?").fill("another")
    page.get_by_role("button", name="Make the edit").click()
    card = page.get_by_role("listitem").filter(has_text="another")
    card.get_by_text("waiting, number 1").wait_for()
    card.get_by_role("button", name="Cancel: another").click()
    page.get_by_text("This edit was cancelled.").wait_for()
    assert jobs(site)[0].state is JobState.CANCELLED
    # The first one is cancelled where it is shown, and fails instead.
    page.get_by_role("listitem").filter(has_text=TEXT).get_by_role("link").click()
    page.get_by_role("button", name="Cancel this edit").click()
    words.get_by_text("Ending at its next step.").wait_for()
    assert jobs(site)[1].cancel
    site.store.end(job.id, "other", JobState.FAILED, "The disk is full: free some space.")
    page.locator("#failure").get_by_text("The disk is full: free some space.").wait_for()


def test_what_cannot_be_is_one_sentence(page: Any, site: Site) -> None:
    go = page.get_by_role("button", name="Make the edit")
    go.click()
    assert complaint(page) == "Choose a picture first, or take one of the examples."
    picked(page, b"no picture at all", "wrong.png")
    page.get_by_text("wrong.png: this browser cannot show it").wait_for()
    go.click()
    assert complaint(page).startswith("Write a sentence first: ")
    text = page.get_by_label("What should it show?")
    assert text.evaluate("(field) => field === document.activeElement")
    text.fill("   ")
    go.click()
    assert complaint(page).startswith("Write a sentence first: ")
    text.fill(TEXT)
    go.click()
    page.locator("#complaint").get_by_text("image").wait_for()
    assert complaint(page)
    picked(page)
    assert page.locator("#complaint").is_hidden()
    page.get_by_label("In my mask").first.check()
    go.click()
    assert complaint(page).startswith("There is no mask yet")
    page.get_by_label("Everywhere").first.check()
    page.get_by_text("Strength and seeds").click()
    page.get_by_label("Strength (eta)").fill("7")
    go.click()
    page.locator("#complaint").get_by_text("must lie between 0.0 and 2.0").wait_for()
    assert jobs(site) == []
    # The queue is full for one client at three.
    page.get_by_label("Strength (eta)").fill("1")
    site.working.clear()
    for number in range(4):
        page.get_by_label("Seed", exact=True).first.fill(str(number))
        go.click()
        until(page, lambda: len(jobs(site)) == min(number + 1, 3))  # noqa: B023 - used before it changes
    page.locator("#complaint").get_by_text("too many unfinished edits").wait_for()
    assert len(jobs(site)) == 3


def test_a_picture_that_is_too_large_is_not_even_sent(browser: Any, settings: Settings, backbone: Any) -> None:
    small = Settings(settings.data, model="tiny", max_bytes=2 * 2**20)
    with Site(small, backbone) as site, visiting(browser, site.address) as page:
        entered(page)
        picked(page, bytes(2 * 2**20 + 1), "large.png")
        assert complaint(page) == "large.png has more than 2 MiB; choose a smaller one."


def test_an_answer_that_was_lost_makes_no_second_edit(page: Any, site: Site) -> None:
    site.working.clear()

    def lose(route: Any) -> None:
        route.fetch()
        route.abort()

    page.route("**/api/v1/edits", lambda route: lose(route) if route.request.method == "POST" else route.continue_())
    asked(page)
    assert complaint(page).startswith("The service does not answer")
    assert len(jobs(site)) == 1
    page.unroute_all()
    page.get_by_role("button", name="Make the edit").click()
    page.locator("#working-words").get_by_text("Next in the queue.").wait_for()
    assert len(jobs(site)) == 1
    page.get_by_role("button", name="Make the edit").click()
    until(page, lambda: len(jobs(site)) == 2)


def test_a_mask_is_painted_by_pointer_and_keyboard_loaded_and_sent(page: Any, site: Site) -> None:
    site.working.clear()
    picked(page, encoded(np.zeros((300, 600, 3), np.uint8)))
    page.get_by_label("In my mask").first.check()
    page.get_by_role("button", name="Paint a mask").first.click()
    canvas = page.get_by_role("application", name="Painting")
    box = canvas.bounding_box()
    assert box is not None
    page.get_by_role("button", name="Use this mask").click()
    page.get_by_text("Nothing is painted yet").wait_for()
    page.get_by_label("Brush").fill("10")
    left, middle = box["x"], box["y"] + box["height"] / 2
    page.mouse.move(left + 0.1 * box["width"], middle)
    page.mouse.down()
    page.mouse.move(left + 0.4 * box["width"], middle)
    page.mouse.up()
    canvas.focus()
    for _ in range(4):  # from 0.4 by 0.1 to 0.8 of the width
        page.keyboard.press("Shift+ArrowRight")
    page.keyboard.press("Space")
    page.get_by_role("button", name="Invert").click()
    page.get_by_role("button", name="Undo").click()
    share = page.locator("#painter-share").inner_text()
    page.get_by_role("button", name="Use this mask").click()
    page.locator("#mask img").wait_for()
    page.get_by_label("What should it show?").fill(TEXT)
    page.get_by_role("button", name="Make the edit").click()
    job = until(page, lambda: next(iter(jobs(site)), None))
    painted = np.asarray(Image.open(site.file(job.id, "mask.png")).convert("L"))
    assert painted.shape == (300, 600)
    assert np.unique(painted[:, 520:]).tolist() == [0]
    for x, white in ((15, False), (60, True), (150, True), (240, True), (360, False), (480, True)):
        assert (painted[150, x] == 255) is np.bool_(white), x
    # A brush of 10 % is 60 pixels wide.
    column = np.flatnonzero(painted[:, 150] > 127)
    assert (column[0], column[-1]) == (pytest.approx(120, abs=2), pytest.approx(179, abs=2))
    assert share == f"{round(100 * float(painted.mean()) / 255)} % of the picture may change."
    # A mask from a file goes as it is.
    plane = np.zeros((30, 60), np.uint8)
    plane[:10] = 255
    page.locator("#mask").get_by_label("Load a mask").set_input_files(
        {"name": "mask.png", "mimeType": "image/png", "buffer": encoded(plane)}
    )
    page.get_by_role("button", name="Make the edit").click()
    job = until(page, lambda: len(jobs(site)) == 2 and jobs(site)[0])
    assert np.array_equal(np.asarray(Image.open(site.file(job.id, "mask.png")).convert("L")), plane)
    page.get_by_label("Where the text points").first.check()
    page.get_by_role("button", name="Make the edit").click()
    assert until(page, lambda: len(jobs(site)) == 3 and jobs(site)[0]).request["mask"] == "auto"


def test_a_mask_over_a_finished_fit(page: Any, site: Site) -> None:
    asked(page)
    first = done(page, site, 1)
    page.get_by_text("Mask and options of rendering").click()
    again = page.locator("#variations")
    again.get_by_label("In my mask").check()
    plane = np.zeros((30, 40), np.uint8)
    plane[:, 20:] = 255
    file = {"name": "mask.png", "mimeType": "image/png", "buffer": encoded(plane)}
    again.get_by_label("Load a mask").set_input_files(file)
    again.get_by_label("Guidance scale", exact=True).fill("2")
    again.get_by_role("button", name="Make it again").click()
    second = done(page, site, 2)
    assert second.parent == first.id
    assert second.request["options"] == EDIT | {"guidance_scale": 2}
    image = np.asarray(Image.open(site.file(second.id, "result-0.png")).convert("RGB"))
    assert np.array_equal(image[:, :20], PIXELS[:, :20])
    # What was asked comes back into the form, the mask too, for another method.
    page.get_by_role("button", name="Change what was asked").click()
    page.locator("#mask img").wait_for()
    composer = page.locator("#composer")
    assert composer.get_by_label("What should it show?").input_value() == TEXT
    assert composer.get_by_label("Guidance scale", exact=True).input_value() == "2"
    composer.get_by_label("Method").select_option("sdedit")
    composer.get_by_label("Num steps", exact=True).fill("2")
    composer.get_by_role("button", name="Make the edit").click()
    third = done(page, site, 3)
    assert (third.request["method"], third.parent, third.request["options"]) == ("sdedit", None, {"num_steps": 2})
    image = np.asarray(Image.open(site.file(third.id, "result-0.png")).convert("RGB"))
    assert np.array_equal(image[:, :20], PIXELS[:, :20])
    # A result can be the next picture.
    page.get_by_role("button", name="Edit this result further").click()
    page.get_by_text("result-0.png").wait_for()
    page.get_by_label("What should it show?").fill("a cat")
    page.get_by_role("button", name="Make the edit").click()
    fourth = done(page, site, 4)
    given, result = (Image.open(site.file(*each)) for each in ((fourth.id, "input.png"), (third.id, "result-0.png")))
    assert np.array_equal(np.asarray(given.convert("RGB")), np.asarray(result.convert("RGB")))


def test_a_method_asks_for_the_texts_that_it_needs(browser: Any, site: Site) -> None:
    model = site.store.fact("model")
    site.store.set_fact("model", {**model, "abilities": [*model["abilities"], "instruction"]})
    with visiting(browser, site.address) as page:
        entered(page)
        method = page.get_by_label("Method")
        method.select_option("ddib")
        assert page.locator("#composer").get_by_label("Strength (").is_hidden()
        page.get_by_role("button", name="Example: ").first.click()
        source = page.get_by_label("What does it show now?")
        until(page, lambda: source.input_value())
        source.fill("")
        page.get_by_role("button", name="Make the edit").click()
        assert complaint(page) == "This method also needs to know what the picture shows now."
        method.select_option("instruct_pix2pix")
        page.get_by_label("What should be done?").wait_for()
        method.select_option("imagic")
        page.get_by_text("All options").click()
        steps = page.locator("#composer").get_by_label("Embedding steps", exact=True)
        standard = steps.get_attribute("placeholder")
        page.get_by_label("Preset").select_option("paper")
        assert steps.get_attribute("placeholder") == "1000" != standard
        # What may name a file of the service's machine cannot be asked, and is not offered.
        assert page.locator("#composer").get_by_label("Encoder", exact=True).count() == 0
    site.store.set_fact("model", model)
    with visiting(browser, site.address) as page:
        entered(page)
        assert page.locator("option[value=instruct_pix2pix]").is_disabled()


def test_the_key_is_asked_once(browser: Any, settings: Settings, backbone: Any, tmp_path: Path) -> None:
    key, text = open_key(tmp_path / "key")
    with Site(settings, backbone, key) as site, visiting(browser, site.address) as page:
        page.set_default_timeout(PATIENCE)
        page.goto("/")
        field = page.get_by_role("dialog").get_by_label("Key", exact=True)
        field.wait_for()
        until(page, lambda: all_named(page))
        field.fill("wrong")
        field.press("Enter")
        page.get_by_text("This is not the key of this service.").wait_for()
        field.fill(text)
        field.press("Enter")
        asked(page)
        done(page, site, 1)
        assert shown(page) == (40, 40)
        page.reload()
        page.locator("#compare:visible").wait_for()
        assert page.get_by_role("dialog").count() == 0


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_names_and_a_phones_width(browser: Any, site: Site, scheme: str) -> None:
    width = 390

    def fits(page: Any) -> None:
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        until(page, lambda: all_named(page))

    with visiting(browser, site.address, width, color_scheme=scheme, has_touch=True) as page:
        entered(page)
        fits(page)
        asked(page, text="a dog " + "withaverylongname" * 6)
        done(page, site, 1)
        page.evaluate("for (const each of document.querySelectorAll('details')) each.open = true")
        fits(page)
        page.get_by_label("In my mask").first.check()
        page.get_by_role("button", name="Paint a mask").first.click()
        page.get_by_role("button", name="Use this mask").wait_for()
        fits(page)
        dialog = page.get_by_role("dialog").bounding_box()
        assert dialog is not None
        assert dialog["x"] >= 0
        assert dialog["x"] + dialog["width"] <= width


def test_an_edit_by_keyboard_alone(page: Any, site: Site) -> None:
    """From the top of the page, by Tab, Space, Enter and letters."""

    def to(role: str, name: str) -> None:
        for _ in range(40):
            page.keyboard.press("Tab")
            focused = page.evaluate(
                "[document.activeElement.tagName, document.activeElement.ariaLabel ?? '',"
                " document.activeElement.labels?.[0]?.textContent ?? document.activeElement.textContent].join()"
            )
            if focused.startswith(role) and name in focused:
                return
        raise AssertionError(f"no Tab leads to {name}")

    site.working.clear()
    to("BUTTON", "Example: ")
    page.keyboard.press("Enter")
    page.locator("#picture:visible").wait_for()
    to("TEXTAREA", "What should it show?")
    page.keyboard.press("Control+A")
    page.keyboard.type("a cat")
    to("BUTTON", "Make the edit")
    page.keyboard.press("Enter")
    job = until(page, lambda: next(iter(jobs(site)), None))
    assert job.request["text"] == "a cat"
    page.locator("#viewer:focus").wait_for()
    to("BUTTON", "Cancel this edit")
    page.keyboard.press("Space")
    page.get_by_text("This edit was cancelled.").wait_for()
