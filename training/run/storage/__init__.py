"""Imported as `palaestra.training.run.storage`: the folder of a run, its lock and its checkpoints."""
