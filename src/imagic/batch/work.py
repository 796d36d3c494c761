"""How a worker comes by its work, and how it does a task so that its errors end in the row."""

from __future__ import annotations

import contextlib
import importlib
import json
import traceback
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from imagic.batch.types import Row, Work
from imagic.core.errors import Cancelled, ImagicError


@dataclass(frozen=True)
class Opening:
    """A function that opens the work, as "module:name", and its keywords: plain JSON values, so that other processes
    and machines can do it too."""

    function: str
    values: Mapping[str, Any]

    def open(self) -> Work:
        """Load what the work needs, such as the model. Raises what the function raises, an ImagicError above all."""
        module, _, name = self.function.partition(":")
        work: Work = getattr(importlib.import_module(module), name)(**self.values)
        return work

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Opening:
        return cls(**json.loads(text))


@contextlib.contextmanager
def recording(row: Row) -> Iterator[None]:
    """An error within becomes the row's: one sentence, and for a bug its traceback. Ctrl-C and core.errors.Cancelled go
    on, since they are not about the task."""
    try:
        yield
    except ImagicError as error:
        row |= {"error": str(error)}
    except Cancelled:
        raise
    except Exception as error:  # a bug in one item must not cost the night's run
        row |= {"error": f"{type(error).__name__}: {error}", "traceback": traceback.format_exc()}
