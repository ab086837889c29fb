"""Imported as `palaestra.training.benchmarks`: speed beside peers."""
