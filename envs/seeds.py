"""Where the seeds of episodes come from."""

from __future__ import annotations

import hashlib


def episode_seed(run_seed: int, env_index: int, episode: int) -> int:
    """Seed (31 bits) of one episode of one environment; a hash, so that neighbours have nothing in common."""
    digest = hashlib.blake2b(f"{run_seed}/{env_index}/{episode}".encode(), digest_size=4).digest()
    return int.from_bytes(digest, "little") >> 1
