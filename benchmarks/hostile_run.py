"""One hostile case: laid into a folder, run, and everything about its end looked at.

A command line runs in this process, or in one of its own; a request goes to the real application, whose worker is not
running, so that what is seen is what a request can do.
"""

from __future__ import annotations

import contextlib
import json
import multiprocessing.util
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from benchmarks.hostile_cases import MODEL, PICTURE, STATE, TEXT, Case, Request, Sound
from benchmarks.hostile_files import sound_pictures
from benchmarks.hostile_values import DONE, EDITS
from starlette.testclient import TestClient, httpx  # whichever of its names that package has here
from typer.testing import CliRunner

ADDRESS = "http://127.0.0.1:7860"
LONGEST_SENTENCE = 1000  # characters; a name of a file may be a few hundred
CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")
WRITING = ("--out", "--save-state", "--sheet", "--animate", "--save-mask")  # which name a file
FIT = ("embedding_steps=2", "embedding_pairs=1", "network_steps=2", "network_pairs=1", "measured_pairs=2")


class TooLong(BaseException):
    """A case takes more time than it may."""


@dataclass(frozen=True)
class Limits:
    """Of one case. seconds: of wall clock; megabytes: that the peak of memory may lie over what it was before."""

    seconds: float = 60.0
    megabytes: float = 2048.0


@dataclass(frozen=True)
class Ended:
    """How a case ended. ok: in success. wrong: what should not be; empty if all is well. megabytes: growth."""

    ok: bool
    said: str
    wrong: tuple[str, ...]
    seconds: float
    megabytes: float


class Range:
    """The place where cases run: a working folder deep in an empty one, a cache, temporary files, a service.

    Use as a context, which is this process's working folder and environment."""

    def __init__(self, root: Path, limits: Limits) -> None:
        self.root, self.limits = root.resolve(), limits
        self.work, self.data = self.root / "some" / "where" / "work", self.root / "service"
        self.sound: Sound
        self.done = ""
        self._closing = contextlib.ExitStack()

    def __enter__(self) -> Range:
        multiprocessing.util.get_temp_dir()  # of this process, until its end
        with contextlib.ExitStack() as stack:
            for name in ("temporary", "home", "cache"):
                (self.root / name).mkdir(parents=True)
            self.work.mkdir(parents=True)
            stack.enter_context(_environment(self.root))
            stack.enter_context(contextlib.chdir(self.work))
            self._prepare()
            self.client = stack.enter_context(self._service())
            self._closing = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._closing.close()

    def run(self, case: Case, process: bool = False) -> Ended:
        """process: a command line in a process of its own."""
        for name, data in case.files.items():
            (self.work / name).parent.mkdir(parents=True, exist_ok=True)
            (self.work / name).write_bytes(data)
        before, peak = self._files(), Peak()
        started = time.monotonic()
        try:
            with _at_most(self.limits.seconds):
                if case.request is not None:
                    ok, said, wrong, made = self._ask(case.request)
                else:
                    ok, said, wrong, made = (_in_a_process if process else _in_this_process)(case.command)
        except TooLong:
            ok, said, wrong, made = False, "", [f"took more than {self.limits.seconds:g} s"], set()
        except Exception:
            ok, said, wrong, made = False, "", [f"traceback: {traceback.format_exc()[-3000:]}"], set()
        seconds, megabytes = time.monotonic() - started, peak.megabytes()
        if megabytes > self.limits.megabytes:
            wrong.append(f"took {megabytes:.0f} MB")
        after = self._files()
        new = {path for path, status in after.items() if before.get(path) != status}
        left = sorted(str(path.relative_to(self.root)) for path in new if not any(_within(path, each) for each in made))
        if left:
            wrong.append(f"left or changed {left[:5]}")
        if gone := sorted(str(path.relative_to(self.root)) for path in before.keys() - after.keys()):
            wrong.append(f"removed {gone[:5]}")
        self._clean(new, case)
        return Ended(ok, said, tuple(wrong), seconds, megabytes)

    def _ask(self, request: Request) -> tuple[bool, str, list[str], set[Path]]:
        headers = [(name.encode(), value.encode("latin-1")) for name, value in request.headers.items()]
        path = request.path.replace(DONE, self.done)
        try:
            answer = self.client.request(request.method, path, content=request.body, headers=headers)
        except (httpx.InvalidURL, httpx.UnsupportedProtocol):
            return False, "no client would send this", [], set()
        made: set[Path] = set()
        if answer.status_code in (200, 202) and request.method == "POST" and "id" in answer.json():
            id = answer.json()["id"]
            if id != self.done:
                self.client.delete(f"{EDITS}/{id}").raise_for_status()
        if answer.status_code < 400:
            # Small copies are kept beside the pictures of the finished edit.
            return (
                True,
                "",
                [],
                {self.data / "jobs" / self.done} if path.partition("?")[0].endswith("/thumbnail") else made,
            )
        wrong = [] if answer.status_code < 500 else [f"status {answer.status_code}"]
        try:
            (sentence,) = answer.json().values() if request.method != "HEAD" else ("",)
        except (ValueError, AttributeError):
            return False, answer.text[:200], [*wrong, f"status {answer.status_code} without a sentence"], made
        return False, str(sentence), wrong + unclear(sentence), made

    def _files(self) -> dict[Path, tuple[int, int]]:
        """Every file and folder by path, with size and time; but for the service's own database and locks."""
        found: dict[Path, tuple[int, int]] = {}
        for folder, folders, files in os.walk(self.root):
            found.update({Path(folder, name): (0, 0) for name in folders})
            for name in files:
                path = Path(folder, name)
                if path.parent != self.data:
                    with contextlib.suppress(FileNotFoundError):
                        status = path.stat()
                        found[path] = (status.st_size, status.st_mtime_ns)
        return found

    def _clean(self, new: set[Path], case: Case) -> None:
        """Leave the place as it was before the case."""
        tops = {self.work / Path(name).parts[0] for name in case.files}
        for path in sorted(new | tops, key=lambda path: len(path.parts), reverse=True):
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)
        self._restore()

    def _restore(self) -> None:
        """What cases are made from, should one have replaced it."""
        for name, data in ((PICTURE, self._picture), (STATE, self.sound.state)):
            if not (self.work / name).is_file() or (self.work / name).read_bytes() != data:
                (self.work / name).write_bytes(data)

    def _prepare(self) -> None:
        """A model, a picture, and what imagic makes of them."""
        from tests.conftest import build_pipeline

        from imagic.core.provenance import read_record

        build_pipeline(word_level=True).save_pretrained(MODEL)
        self._picture = sound_pictures()["png"]
        Path(PICTURE).write_bytes(self._picture)
        steps = [part for each in FIT for part in ("--set", each)]
        for command in (
            ("fit", PICTURE, TEXT, "--model", MODEL, "--no-cache", *steps, "-o", STATE),
            ("edit", PICTURE, "--state", STATE, "--num-steps", "2", "--eta", "1", "-o", "made.png", "--model", MODEL),
        ):
            _, said, wrong, _ = _in_this_process(command)
            if wrong or said:
                raise RuntimeError(f"{command}: {said or wrong}")
        record = json.loads(read_record("made.png").to_json())
        Path("made.png").unlink()
        files = {str(path.relative_to(MODEL)): path.read_bytes() for path in Path(MODEL).rglob("*") if path.is_file()}
        self.sound = Sound(files, Path(STATE).read_bytes(), record)

    @contextlib.contextmanager
    def _service(self) -> Iterator[TestClient]:
        """The application, with one finished edit in it."""
        import base64

        import imagic
        from imagic.serve.app import create_app
        from imagic.serve.settings import Settings
        from imagic.serve.store import Store
        from imagic.serve.worker import MODEL as FACTS
        from imagic.serve.worker import Worker, facts

        settings = Settings(self.data, model=MODEL, max_queue=10**6, max_per_client=10**6)
        with TestClient(create_app(settings, works=False), base_url=ADDRESS) as client:
            store, backbone = Store(settings.database), imagic.load_model(MODEL)
            store.set_fact(FACTS, facts(backbone))
            options: dict[str, Any] = {name: int(value) for name, value in (each.split("=") for each in FIT)} | {
                "num_steps": 2
            }
            image = base64.b64encode(self._picture).decode()
            asked = {"image": image, "text": TEXT, "eta": 1.0, "plain": True, "options": options}
            self.done = client.post(EDITS, json=asked).raise_for_status().json()["id"]
            Worker(settings, store, backbone, "worker-1", threading.Event()).run_one()
            if (state := client.get(f"{EDITS}/{self.done}").json())["state"] != "done":
                raise RuntimeError(f"the edit that others are made from has failed: {state['error']}")
            yield client


def _in_this_process(command: Sequence[str]) -> tuple[bool, str, list[str], set[Path]]:
    from imagic.cli.app import app

    done = CliRunner().invoke(app, list(command), catch_exceptions=False)
    return _judged(command, done.exit_code, done.stdout, done.stderr)


def _in_a_process(command: Sequence[str]) -> tuple[bool, str, list[str], set[Path]]:
    line = [
        os.fsencode(part) if isinstance(part, str) else part for part in (sys.executable, "-m", "imagic.cli", *command)
    ]
    done = subprocess.run(line, capture_output=True, check=False)
    stdout, stderr = (stream.decode("utf-8", "surrogateescape") for stream in (done.stdout, done.stderr))
    return _judged(command, done.returncode, stdout, stderr)


def _judged(command: Sequence[str], code: int, stdout: str, stderr: str) -> tuple[bool, str, list[str], set[Path]]:
    """Whether it succeeded, what it said, what is wrong with how it ended, and the files that it was to make."""
    lines = stderr.split("\n")
    if "Traceback (most recent call last)" in stderr or "Error in sys.excepthook" in stderr:
        return False, "", [f"traceback: {stderr[-3000:]}"], set()
    # A name may hold the end of a line.
    made = {Path(name).absolute() for name in (*stdout.split("\n"), stdout.rstrip("\n")) if name}
    if code == 0:
        return True, "", [], made | {Path(value).absolute() for flag, value in pairwise(command) if flag in WRITING}
    if code == 1:
        sentences = [line.removeprefix("Error: ") for line in lines if line.startswith("Error: ")]
        if len(sentences) != 1:
            return False, stderr[-300:], [f"{len(sentences)} sentences, and exit code 1"], set()
        at = next(index for index, line in enumerate(lines) if line.startswith("Error: "))
        rest = [line for line in lines[at + 1 :] if line]
        return False, sentences[0], unclear(sentences[0]) + [f"said more: {rest[:2]}"] * bool(rest), made
    if code == 2:
        box = [line.strip("│ ") for line in lines if line.startswith("│")]
        sentence = " ".join(box) or next((line for line in reversed(lines) if line.startswith("Error: ")), "")
        wrong = unclear(sentence) if sentence else ["exit code 2 without a sentence"]
        return False, sentence, wrong, set()
    return False, stderr[-300:], [f"exit code {code}"], set()


def unclear(sentence: object) -> list[str]:
    """What keeps it from being one clear sentence."""
    if not isinstance(sentence, str) or not sentence.strip():
        return [f"no sentence: {sentence!r:.200}"]
    wrong = []
    if len(sentence) > LONGEST_SENTENCE:
        wrong.append(f"a sentence of {len(sentence)} characters: {sentence[:100]!r}")
    if "\n" in sentence or CONTROL.search(sentence):
        wrong.append(f"control characters in {sentence[:300]!r}")
    return wrong


def _within(path: Path, made: Path) -> bool:
    """Whether a path is what was made, lies in it, or is a folder that it lies in."""
    made = Path(os.path.normpath(made))
    return path == made or made in path.parents or (path.is_dir() and path in made.parents)


class Peak:
    """The growth of this process's memory, from where this is made to its highest point; 0 where the system does not
    tell."""

    def __init__(self) -> None:
        with contextlib.suppress(OSError):
            Path("/proc/self/clear_refs").write_text("5")
        self._before = _status("VmRSS")

    def megabytes(self) -> float:
        return max(0.0, _status("VmHWM") - self._before)


def _status(name: str) -> float:
    try:
        found = re.search(rf"{name}:\s+(\d+) kB", Path("/proc/self/status").read_text())
    except OSError:
        return 0.0
    return int(found[1]) / 1024 if found else 0.0


@contextlib.contextmanager
def _at_most(seconds: float) -> Iterator[None]:
    def ring(*_: Any) -> None:
        raise TooLong

    before = signal.signal(signal.SIGALRM, ring)
    others, _ = signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.signal(signal.SIGALRM, before)
        signal.setitimer(signal.ITIMER_REAL, others)


@contextlib.contextmanager
def _environment(root: Path) -> Iterator[None]:
    """Everything that a command may write to lies below `root`."""
    names = {
        "TMPDIR": "temporary",
        "HOME": "home",
        "IMAGIC_CACHE_DIR": "cache",
        "HF_HOME": "home/hf",
        "XDG_CACHE_HOME": "home/cache",
    }
    values = {name: str(root / each) for name, each in names.items()}
    values |= {"HF_HUB_OFFLINE": "1", "COLUMNS": "4000", "NO_COLOR": "1", "PYTHONUTF8": "1"}
    before = dict(os.environ)
    os.environ.update(values)
    tempfile.tempdir = None
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)
        tempfile.tempdir = None
