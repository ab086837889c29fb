"""Imported as `palaestra.training.export`: a run's policy as one file for other programs."""
