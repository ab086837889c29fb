"""Imported as `palaestra.training.cli.terminal`: what commands read from their words, and what they print."""
