"""Imported as `palaestra.training.comparison.report`: what a comparison found, as pages, tables and charts."""
