"""Imported as `palaestra.world_models`: predicting what happens, and dreams that any agent can train in."""
