"""The command as a program: what it imports, its exit codes, and its two streams."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
import typer
from typer.testing import CliRunner

import imagic
from imagic.cli.app import OneSentence, app
from imagic.core.errors import OptionError
from tests.cli.conftest import Run

HEAVY = ("torch", "diffusers", "transformers", "numpy", "PIL")
IMPORTS = (
    "import sys\n"
    "sys.argv = ['imagic', *sys.argv[1:]]\n"
    "from imagic.cli import main\n"
    "try:\n"
    "    main()\n"
    "except SystemExit as stop:\n"
    "    code = stop.code\n"
    f"print('heavy:', sorted(set(sys.modules) & set({HEAVY!r})), 'code:', code, file=sys.stderr)\n"
)


@pytest.mark.parametrize("arguments", [("--help",), ("--version",), ("edit", "--help"), ("bench", "run", "--help"), ()])
def test_help_and_version_import_nothing_heavy(arguments: tuple[str, ...]) -> None:
    done = subprocess.run([sys.executable, "-c", IMPORTS, *arguments], capture_output=True, text=True, check=True)
    assert "heavy: []" in done.stderr


def test_completion_imports_nothing_heavy() -> None:
    environment = os.environ | {"_IMAGIC_COMPLETE": "complete_bash", "COMP_WORDS": "imagic ed", "COMP_CWORD": "1"}
    done = subprocess.run([sys.executable, "-c", IMPORTS], capture_output=True, text=True, check=True, env=environment)
    assert done.stdout.strip() == "edit"
    assert "heavy: []" in done.stderr


def test_importing_imagic_is_cheap_and_its_names_load_on_use() -> None:
    code = f"import sys, imagic; print(sorted(set(sys.modules) & set({HEAVY!r})), 'edit' in dir(imagic))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[] True\n"
    for name in imagic.__all__:
        assert getattr(imagic, name) is not None
    with pytest.raises(AttributeError, match="nonsense"):
        _ = imagic.nonsense


def test_the_version_is_printed_on_stdout(run: Run) -> None:
    done = run("--version")
    assert (done.exit_code, done.stdout) == (0, f"{imagic.__version__}\n")


def test_an_unknown_command_is_exit_code_2(run: Run) -> None:
    assert run("edti").exit_code == 2


def program(error: BaseException) -> typer.Typer:
    """A program whose command raises `error`, put together as ours is."""
    made = typer.Typer(cls=OneSentence, pretty_exceptions_enable=False)

    @made.callback()
    def root() -> None: ...

    @made.command()
    def fail() -> None:
        raise error

    return made


def test_errors_that_can_be_mended_are_a_sentence_and_bugs_keep_their_traceback() -> None:
    mendable = CliRunner().invoke(program(OptionError("Choose another.")), ["fail"])
    assert (mendable.exit_code, mendable.stdout, mendable.stderr) == (1, "", "Error: Choose another.\n")
    with pytest.raises(ZeroDivisionError):
        CliRunner().invoke(program(ZeroDivisionError("a bug")), ["fail"], catch_exceptions=False)
    assert app.pretty_exceptions_enable is False


def test_ctrl_c_and_errors_are_shown_with_what_is_kept() -> None:
    for error, code, first in (
        (OptionError("Choose another."), 1, "Error: Choose another.\n"),
        (KeyboardInterrupt(), 130, ""),
    ):
        error.add_note("It is kept.")
        done = CliRunner().invoke(program(error), ["fail"])
        assert (done.exit_code, done.stdout) == (code, "")
        assert done.stderr.startswith(f"{first}It is kept.\n")
