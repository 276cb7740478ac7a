"""`python -m mdf`: the command line."""

from mdf.commands import main

main()
