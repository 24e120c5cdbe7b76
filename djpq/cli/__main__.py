"""`python -m djpq.cli`."""

from . import main

main()
