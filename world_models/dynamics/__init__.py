"""Imported as `palaestra.world_models.dynamics`: from a latent and an action to the next latent."""
