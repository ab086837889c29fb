"""Imported as `palaestra.envs`; importing it registers our own environments with Gymnasium."""

from .tasks.catch import register_catch
from .tasks.catch_distractor import register_catch_distractor
from .tasks.classic import register_classic
from .tasks.corridor import register_corridor
from .tasks.fork import register_fork
from .tasks.goals import register_goals
from .tasks.memory_tasks import register_memory_tasks
from .tasks.probes import register_probes

register_corridor()
register_probes()
register_memory_tasks()
register_catch()
register_catch_distractor()
register_classic()
register_fork()
register_goals()
