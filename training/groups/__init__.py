"""Imported as `palaestra.training.groups`: runs that differ in their seeds, trained together in one process."""
