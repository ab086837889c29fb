"""Imported as `palaestra.training.cli`: the command line, one file a command."""
