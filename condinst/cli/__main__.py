"""`python -m condinst.cli`."""

from . import main

main()
