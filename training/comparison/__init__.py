"""Imported as `palaestra.training.comparison`: suites, statistics, reports and sweeps."""
