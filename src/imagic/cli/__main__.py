"""`python -m imagic.cli`: the same as the `imagic` command."""

from imagic.cli.app import main

main()
