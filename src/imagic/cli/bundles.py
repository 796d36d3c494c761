"""Options that several commands share, and which a command takes together as one keyword."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any, TypeAlias

Command: TypeAlias = Callable[..., None]


def takes(keyword: str, options: Callable[..., Any]) -> Callable[[Command], Command]:
    """A decorator: the command has the options that are the keywords of `options`, and takes what that returns as
    `keyword`."""

    def decorate(command: Command) -> Command:
        own = inspect.signature(command, eval_str=True).parameters
        added = inspect.signature(options, eval_str=True).parameters

        @functools.wraps(command)
        def with_options(**values: Any) -> None:
            given = {name: values.pop(name) for name in added}
            command(**values, **{keyword: options(**given)})

        kept = [each for name, each in own.items() if name != keyword]
        parameters = sorted([*kept, *added.values()], key=lambda each: each.kind)
        with_options.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        with_options.__annotations__ = {each.name: each.annotation for each in parameters}
        return with_options

    return decorate
