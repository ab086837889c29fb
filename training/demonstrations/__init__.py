"""Imported as `palaestra.training.demonstrations`: what a teacher did, recorded, read and played back."""
