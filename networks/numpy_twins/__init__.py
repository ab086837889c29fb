"""Imported as `palaestra.networks.numpy_twins`: small networks in NumPy, for faster acting on the CPU."""
