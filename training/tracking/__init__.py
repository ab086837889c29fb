"""Imported as `palaestra.training.tracking`: where numbers and pictures go."""
