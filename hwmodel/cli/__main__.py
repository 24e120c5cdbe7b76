"""`python -m hwmodel.cli`."""

from . import main

main()
