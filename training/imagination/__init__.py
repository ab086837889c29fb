"""Imported as `palaestra.training.imagination`: training with world models."""
