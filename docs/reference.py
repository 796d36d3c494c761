"""The reference, from the code: what `imagic --help` tells, the options of every method, and the Python names.

These tables are written when the site is built, so that no page holds a copy that could grow old.
"""

from __future__ import annotations

import html
import inspect
import re
from collections.abc import Callable, Iterator
from typing import Any

import tables
import typer.main

import imagic
from imagic.cli.app import app
from imagic.core import registry
from imagic.core.registry import Group

ARGUMENT = re.compile(r"(?P<names>[a-z_]+(?:, [a-z_]+)*): ")  # how docstrings here begin what they say of an argument


def command_line() -> str:
    """Each command with its usage, its help and a table of its arguments and options."""
    root: Any = typer.main.get_command(app)
    return "\n".join(_command(path, command, context) for path, command, context in _commands("imagic", root, None))


def _commands(path: str, command: Any, parent: Any) -> Iterator[tuple[str, Any, Any]]:
    context = command.make_context(path.rsplit(" ", 1)[-1], [], parent=parent, resilient_parsing=True)
    if not hasattr(command, "commands"):
        yield path, command, context
        return
    for name, each in command.commands.items():
        yield from _commands(f"{path} {name}", each, context)


def _command(path: str, command: Any, context: Any) -> str:
    usage = command.get_usage(context).removeprefix("Usage: ")
    lines = [f"## {path}\n", inspect.cleandoc(command.help).split("\n\n")[0] + "\n", f"```text\n{usage}\n```\n"]
    records = [record for each in command.params if (record := each.get_help_record(context))]
    rows = [(f"`{name}`", html.escape(text.replace("\\[", "["), quote=False)) for name, text in records]
    return "\n".join([*lines, tables.table(("argument or option", "meaning"), rows)] if rows else lines)


def method_options() -> str:
    """Each installed method with the tables of its options."""
    return "\n".join(_method(name) for name in registry.names(Group.METHODS))


def _method(name: str) -> str:
    parts = [f"## `{name}`\n", registry.method(name).paper + "\n"]
    for title, which in (("Fitting", "FitOptions"), ("Editing", "EditOptions")):
        text = tables.options(name, which)
        parts += [f"{title}:\n", text] if text.count("\n") > 2 else [f"{title} has no options.\n"]
    return "\n".join(parts)


def python_names() -> str:
    """The public names of `imagic`, each with its signature and its documentation."""
    names = [name for name in imagic.__all__ if not name.startswith("_")]
    return "\n".join(_name(f"imagic.{name}", getattr(imagic, name)) for name in names)


def _name(path: str, found: Any) -> str:
    parts = [f"## {path}\n", _described(path, found)]
    for name, member in vars(found).items() if inspect.isclass(found) else ():
        if name.startswith("_") or not inspect.getdoc(member):
            continue
        if isinstance(member, property):
            parts += [f"### {path}.{name}\n", _prose(member)]
        elif callable(getattr(found, name)):
            parts += [f"### {path}.{name}\n", _described(path.split(".")[-1] + "." + name, getattr(found, name))]
    return "\n".join(parts)


def _described(path: str, found: Any) -> str:
    return f"```python\n{path.split('.', 1)[-1]}{_signature(found)}\n```\n\n{_prose(found)}"


def _signature(found: Any) -> str:
    """As it stands in the code; a parameter per line where there are many."""
    if inspect.isclass(found) and issubclass(found, BaseException):
        return ""
    signature = inspect.signature(found)
    parameters = [_shown(each) for each in signature.parameters.values() if each.name != "self"]
    bare = signature.replace(parameters=parameters, return_annotation=inspect.Signature.empty)
    back = "" if inspect.isclass(found) else f" -> {signature.return_annotation}"
    if len(f"{bare}{back}") <= 80:
        return f"{bare}{back}"
    first = next((each.name for each in parameters if each.kind is each.KEYWORD_ONLY), None)
    lines = [line for each in parameters for line in (["    *,"] if each.name == first else []) + [f"    {each},"]]
    return "\n".join(["(", *lines, f"){back}"])


class _Text(str):
    """Shown as it is, without quotes."""

    def __repr__(self) -> str:
        return str(self)


def _shown(each: inspect.Parameter) -> inspect.Parameter:
    """A parameter whose postponed annotation has no quotes; a function as its default has no name of its own."""
    default = _Text("...") if inspect.isfunction(each.default) else each.default
    return each.replace(annotation=_Text(each.annotation), default=default)


def _prose(found: Any) -> str:
    """A docstring as Markdown: its arguments are a list."""
    lines = []
    for line in html.escape(inspect.getdoc(found) or "", quote=False).splitlines():
        if match := ARGUMENT.match(line):
            lines.append(f"\n- `{match['names']}`: {line[match.end() :]}")
        else:
            lines.append(f"\n{line}" if line.startswith(("Raises", "Returns")) else line)
    return "\n".join(lines) + "\n"


TABLES: dict[str, Callable[[], str]] = {
    "command-line": command_line,
    "method-options": method_options,
    "python": python_names,
}
