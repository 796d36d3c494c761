"""What the routes call: edits taken, looked at, ended and removed. Knows nothing of HTTP."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from imagic import api
from imagic._asked import target_values
from imagic.core import registry
from imagic.core.errors import AbilityError, ModelError, OptionError, OutputError
from imagic.core.options import build_options, preset_values
from imagic.core.provenance import portable_model_name
from imagic.core.types import Method
from imagic.serve import outputs
from imagic.serve.decoding import decode_upload, read_upload
from imagic.serve.requests import AgainRequest, EditRequest, check_no_files, decoded, digest
from imagic.serve.settings import Settings
from imagic.serve.store import Job, JobState, Store
from imagic.serve.worker import MODEL

GIVING_BACK = 5.0  # seconds


class Unavailable(Exception):
    """The service cannot take an edit; the sentence says why."""


class NoFit(Exception):
    """The edit has no finished fit that another could be made from."""


class Busy(Exception):
    """The edit runs, and must be cancelled first."""


@dataclass(frozen=True)
class Service:
    """The jobs of one folder of data."""

    settings: Settings
    store: Store

    @property
    def model(self) -> str:
        """The served model, as records name it; requests may name it too."""
        return portable_model_name(self.settings.model)

    def facts(self) -> dict[str, Any]:
        """What the worker told of its model; empty while it loads for the first time."""
        return self.store.fact(MODEL) or {}

    @contextlib.contextmanager
    def opened(self) -> Iterator[None]:
        """Within, the folder is this server's alone, and what an earlier one left half-done waits again.

        Raises OutputError where another server has the folder, or it cannot be written to.
        """
        settings = self.settings
        try:
            settings.create()
            lock = FileLock(settings.data / "server.lock")
            lock.acquire(timeout=0)
        except Timeout as error:
            raise OutputError(f"Another server uses {settings.data}: end it, or choose another with --data.") from error
        except OSError as error:
            raise OutputError(f"{settings.data} cannot be written to ({error}): choose another with --data.") from error
        try:
            with contextlib.suppress(Timeout):  # the worker of a server that was killed gives back what it has
                FileLock(settings.worker_lock).acquire(timeout=GIVING_BACK).lock.release()
            self.store.create()
            self.store.worker_died(None, "it ended together with its server")
            self.store.set_fact(MODEL, {})
            known = self.store.ids()
            for folder in settings.jobs.iterdir():
                if folder.name not in known:  # of a request that was ended before its job was queued
                    shutil.rmtree(folder, ignore_errors=True)
            yield
        finally:
            lock.release()

    def submit(self, asked: EditRequest, client: str, key: str | None = None) -> tuple[Job, bool]:
        """Queue an edit. Returns the job, and whether it is new: an idempotency key gives the same job again.

        Raises an ImagicError for what cannot be done, as far as that can be said before; Conflict, Full, Unavailable.
        """
        image = decoded(asked.image, "The image")
        mask = None if asked.mask in (None, "auto") else decoded(asked.mask or "", "The mask")
        body = digest(asked.model_dump(mode="json", exclude={"image", "mask"}), image, mask or asked.mask)
        if (found := self.store.of_key(client, key, body)) is not None:
            return found, False
        method = self._check(asked)
        request = asked.model_dump(mode="json", exclude={"image", "model"})
        with self._new_folder() as (id, folder):
            limit = self.settings.max_pixels
            upload = decode_upload(image, "The image", folder / outputs.INPUT, limit)
            request["image"] = {**upload.facts, "width": upload.width, "height": upload.height}
            if mask is not None:
                request["mask"] = dict(decode_upload(mask, "The mask", folder / outputs.MASK, limit).facts)
            self._check_picture(method, request, folder)
            return self._add(id, request, client, body, key), True

    def again(self, of: Job, asked: AgainRequest, client: str, key: str | None = None) -> tuple[Job, bool]:
        """Queue another edit from a finished fit. Returns and raises as `submit`, and NoFit."""
        mask = None if asked.mask in (None, "auto") else decoded(asked.mask or "", "The mask")
        given = asked.model_dump(mode="json", exclude={"mask"}, exclude_unset=True)
        if asked.text is None:
            given.pop("text", None)
        body = digest({"again": of.id, **given}, mask or asked.mask)
        if (found := self.store.of_key(client, key, body)) is not None:
            return found, False
        method = registry.method(of.request["method"])
        options = api.split_options(method, of.request["options"])[1]
        if {"strength", "eta"} & set(given):
            given = {"strength": "auto", "eta": "auto", **given}
        request = {**of.request, "options": options, **given}
        check_no_files(method, request["options"])
        of_fit, _ = api.split_options(method, request["options"])
        if of_fit:
            raise OptionError(f"Options of fitting, which is done already: {', '.join(of_fit)}; make a new edit.")
        _check_edit(method, request)
        if request["text"] != of.request["text"]:
            target_values(method, request["text"])
        before = self.settings.folder(of.id)
        with self._new_folder() as (id, folder):
            try:
                for name in (outputs.STATE, outputs.INPUT):
                    _link(before / name, folder / name)
                if "mask" not in asked.model_fields_set and isinstance(request["mask"], dict):
                    _link(before / outputs.MASK, folder / outputs.MASK)
            except FileNotFoundError as error:
                raise NoFit from error
            if "mask" in asked.model_fields_set:
                request["mask"] = asked.mask
            if mask is not None:
                upload = decode_upload(mask, "The mask", folder / outputs.MASK, self.settings.max_pixels)
                request["mask"] = dict(upload.facts)
            self._check_picture(method, request, folder)
            return self._add(id, request, client, body, key, parent=of.id), True

    def delete(self, job: Job) -> None:
        """Remove an edit with its files. Raises Busy for one that runs."""
        if not self.store.delete(job.id):
            raise Busy
        shutil.rmtree(self.settings.folder(job.id), ignore_errors=True)

    def file(self, job: Job, name: str) -> Path | None:
        """A file of the job, if it is there."""
        path = self.settings.folder(job.id) / name
        return path if path.is_file() else None

    def _check(self, asked: EditRequest) -> Method:
        """The method, if all that can be checked before any work is well."""
        facts = self.facts()
        if facts.get("error"):
            raise Unavailable(facts["error"])
        if asked.model not in (None, self.model):
            raise ModelError(f"This service has the model '{self.model}' alone: leave the model out.")
        method = registry.method(asked.method)
        check_no_files(method, asked.options)
        fit_values, _ = api.split_options(method, asked.options)
        build_options(method.FitOptions, {**preset_values(method, asked.preset), **fit_values})
        api.check_text(asked.text)
        if asked.source_text:
            api.check_text(asked.source_text)
        if missing := sorted(method.needs - set(facts.get("abilities", method.needs))):
            raise AbilityError(f"The method '{method.name}' needs {' and '.join(missing)}, which the model lacks.")
        _check_edit(method, asked.model_dump())
        return method

    def _check_picture(self, method: Method, request: Mapping[str, Any], folder: Path) -> None:
        """Raises ImageError for a mask that is none, OptionError for options of masks without one."""
        facts, crop = request["mask"], request["crop"]
        _, edit_values = api.split_options(method, request["options"])
        mask = read_upload(folder / outputs.MASK, facts) if isinstance(facts, dict) else facts
        picture = read_upload(folder / outputs.INPUT, request["image"])
        api.masking(mask, method, edit_values, picture, crop and tuple(crop))

    @contextlib.contextmanager
    def _new_folder(self) -> Iterator[tuple[str, Path]]:
        """An id and its folder, which is gone again if the block fails."""
        id = secrets.token_hex(16)
        folder = self.settings.folder(id)
        try:
            folder.mkdir(mode=0o700)
            yield id, folder
        except BaseException as error:
            shutil.rmtree(folder, ignore_errors=True)
            if isinstance(error, OSError) and not isinstance(error, FileNotFoundError):
                raise OutputError(f"The edit cannot be kept ({error.strerror}): free some space.") from error
            raise

    def _add(
        self, id: str, request: Mapping[str, Any], client: str, body: str, key: str | None, parent: str | None = None
    ) -> Job:
        limits = {"max_queue": self.settings.max_queue, "max_per_client": self.settings.max_per_client}
        job = self.store.add(id, request, client, body, key, parent, **limits)
        if job.id != id:  # the same request came twice at one time
            shutil.rmtree(self.settings.folder(id), ignore_errors=True)
        return job


def _check_edit(method: Method, request: Mapping[str, Any]) -> None:
    """Raises OptionError or TextError for an edit that cannot be rendered."""
    _, edit_values = api.split_options(method, request["options"])
    api.edit_options(method, edit_values, request["strength"], request["eta"])
    api.check_text(request["text"])


def _link(before: Path, after: Path) -> None:
    """The same file under another name; a copy where the file system has no such thing."""
    try:
        os.link(before, after)
    except FileNotFoundError:
        raise
    except OSError:
        shutil.copyfile(before, after)


def ended(job: Job) -> bool:
    return job.state not in (JobState.QUEUED, JobState.RUNNING)
