"""Imported as `palaestra.agents.storage`: the steps that agents keep, and how they are learned from."""
