"""Imported as `palaestra.training.baselines`: Stable-Baselines3's algorithms as agents of ours."""
