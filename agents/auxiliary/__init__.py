"""Imported as `palaestra.agents.auxiliary`: losses that encoders learn from beside the loss of any agent."""
