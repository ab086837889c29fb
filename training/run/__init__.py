"""Imported as `palaestra.training.run`: one run, from loop to folder."""
