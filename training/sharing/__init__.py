"""Imported as `palaestra.training.sharing`: a run made ready for others, and put on a model hub."""
