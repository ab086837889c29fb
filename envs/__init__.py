"""Imported as `palaestra.envs`; importing it registers our own environments with Gymnasium."""

from .catch import register_catch
from .classic import register_classic
from .corridor import register_corridor
from .memory_tasks import register_memory_tasks
from .probes import register_probes

register_corridor()
register_probes()
register_memory_tasks()
register_catch()
register_classic()
