"""The command line: builds a request, calls the api, shows a result. One file per group of commands.

Results go to stdout, everything else to stderr. Exit codes: 0; 1, something the user can mend; 2, a wrong command line;
130, Ctrl-C. Nothing here imports torch or diffusers until a command needs them.
"""

from imagic.cli.app import main

__all__ = ["main"]
