"""The same environments stepped by our loop and by Gymnasium's vector environment in each of its reset modes."""

from gymnasium.vector import AutoresetMode, SyncVectorEnv

from palaestra.envs.backends.native import VectorBackend
from palaestra.envs.backends.sync import SyncBackend

NAMES = ["sync", *(mode.value for mode in AutoresetMode)]


def backend_of(name, makers):
    """One of `NAMES` around the environments that `makers` make."""
    if name == "sync":
        return SyncBackend(lambda i: makers[i](), len(makers), seed=0)
    return VectorBackend(SyncVectorEnv(makers, copy=False, autoreset_mode=AutoresetMode(name)), seed=0)
