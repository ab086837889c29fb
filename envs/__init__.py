"""Imported as `palaestra.envs`; importing it registers our own environments with Gymnasium."""

from .corridor import register_corridor
from .probes import register_probes

register_corridor()
register_probes()
