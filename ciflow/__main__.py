"""`python -m ciflow`."""

from ciflow.cli.main import main

main()
