"""Imported as `palaestra.envs`; importing it registers our own environments with Gymnasium."""

from .probes import register_probes

register_probes()
