"""Ctrl-C between two steps, in a step that takes long, pressed twice, and after the last step."""

from __future__ import annotations

import signal
import threading
import time

import pytest

from imagic.cli import stopping
from imagic.cli.stopping import stopping_between_steps


@pytest.fixture(autouse=True)
def handler_is_put_back() -> object:
    before = signal.getsignal(signal.SIGINT)
    yield
    assert signal.getsignal(signal.SIGINT) is before


def press() -> None:
    signal.raise_signal(signal.SIGINT)


def test_it_waits_for_the_next_step() -> None:
    done = []

    def work() -> None:
        with stopping_between_steps() as look:
            look()
            press()
            done.append("the rest of the step")
            look()
            done.append("another step")

    with pytest.raises(KeyboardInterrupt):
        work()
    assert done == ["the rest of the step"]


def test_a_long_step_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stopping, "PATIENCE", 0.05)
    started = time.monotonic()

    def work() -> None:
        with stopping_between_steps():
            press()
            time.sleep(30)

    with pytest.raises(KeyboardInterrupt):
        work()
    assert time.monotonic() - started < 10
    assert stopping.PATIENCE < 1


def test_pressed_twice_it_stops_at_once() -> None:
    def work() -> None:
        with stopping_between_steps():
            press()
            press()
            pytest.fail("still running")

    with pytest.raises(KeyboardInterrupt):
        work()


def test_pressed_in_the_last_step_it_stops_after_it() -> None:
    def work() -> None:
        with stopping_between_steps():
            press()

    with pytest.raises(KeyboardInterrupt):
        work()


def test_without_ctrl_c_and_beside_another_exception_it_does_nothing() -> None:
    with stopping_between_steps() as look:
        look()

    def work() -> None:
        with stopping_between_steps():
            press()
            raise ValueError("of the work")

    with pytest.raises(ValueError, match="of the work"):
        work()


def test_in_another_thread_it_does_nothing() -> None:
    ended = []

    def work() -> None:
        with stopping_between_steps() as look:
            look()
        ended.append(True)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert ended == [True]
