"""The one error family: whatever the user can mend. Anything else is a bug and keeps its traceback."""

from __future__ import annotations

LONGEST = 600  # characters of a sentence that is shown


def plain(sentence: str) -> str:
    """A sentence that may quote what anybody wrote, fit for a terminal and a page: on one line, control characters and
    such as turn the direction of writing as escapes, and of a long one the middle left out."""
    if len(sentence) > LONGEST:
        sentence = f"{sentence[: LONGEST * 2 // 3]} ... {sentence[-LONGEST // 4 :]}"
    # Joiners are not printable, but belong to the writing of some languages and to emoji.
    return "".join(
        each if each.isprintable() or each in "\u200c\u200d" else each.encode("unicode_escape").decode()
        for each in sentence
    )


class ImagicError(Exception):
    """Something the user can mend; the message is one sentence that says what to do."""


class ImageError(ImagicError):
    """An image file that cannot be read, or whose size is out of bounds."""


class TextError(ImagicError):
    """A text that cannot be used: empty, or missing where a method needs it."""


class OptionError(ImagicError):
    """An unknown option, or a value outside its range."""


class AbilityError(ImagicError):
    """A method asks for something that the loaded model cannot do."""


class ModelError(ImagicError):
    """A model that cannot be found or loaded."""


class StateError(ImagicError):
    """A state file that is damaged, of another version, or made with another model."""


class OutputError(ImagicError):
    """A file that cannot be written, or that exists already."""


class NotAvailable(ImagicError):
    """A metric or an extra whose weights or packages are missing; the message says which."""


class OutOfMemory(ImagicError):
    """The memory, of the computer or of the GPU, is too small for what is asked."""


class Cancelled(Exception):
    """Not an error: a progress callback raises it to end the computation at this step; the caller's call raises it on.

    The weights are restored, and a fit with a cache is kept, so that the same call goes on from there.
    """
