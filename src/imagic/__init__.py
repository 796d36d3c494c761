"""Edit a real photograph by text: one image, one sentence, the edited image.

The public names are loaded on first use (PEP 562), so that `import imagic` costs neither torch nor diffusers.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from imagic.api import Cache, Edited, Fit, edit, export, find_mask, fit, load_model
    from imagic.core.errors import Cancelled, ImagicError
    from imagic.core.types import Progress

__version__ = "0.1.0"
__all__ = [
    "Cache",
    "Cancelled",
    "Edited",
    "Fit",
    "ImagicError",
    "Progress",
    "__version__",
    "edit",
    "export",
    "find_mask",
    "fit",
    "load_model",
]

_HOMES = {
    "Cache": "imagic.api",
    "Edited": "imagic.api",
    "Fit": "imagic.api",
    "edit": "imagic.api",
    "export": "imagic.api",
    "find_mask": "imagic.api",
    "fit": "imagic.api",
    "load_model": "imagic.api",
    "Cancelled": "imagic.core.errors",
    "ImagicError": "imagic.core.errors",
    "Progress": "imagic.core.types",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'imagic' has no attribute '{name}'")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
