"""`python -m palaestra` is the `palaestra` command."""

from .training.cli.main import main

main()
