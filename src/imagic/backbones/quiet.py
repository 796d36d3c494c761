"""Silence while diffusers and transformers load: a library's callers decide what is shown."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from diffusers.utils import logging as diffusers_logging
from transformers.utils import logging as transformers_logging


@contextmanager
def quiet() -> Iterator[None]:
    """Within: neither library draws bars, reports what it made of a file or warns of its future. After: as before."""
    before = [(each, each.is_progress_bar_enabled(), each.get_verbosity()) for each in _LOGGINGS]
    try:
        for each in _LOGGINGS:
            each.disable_progress_bar()
            each.set_verbosity(logging.CRITICAL)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            yield
    finally:
        for each, bars, verbosity in before:
            each.set_verbosity(verbosity)
            if bars:
                each.enable_progress_bar()


_LOGGINGS = (diffusers_logging, transformers_logging)
