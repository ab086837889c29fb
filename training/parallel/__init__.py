"""Imported as `palaestra.training.parallel`: one run in several processes, started by torchrun."""
