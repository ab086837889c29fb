"""What a config names by files and folders, by their absolute paths: a run can be gone on with from any folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_args

from ...envs.outside import absolute_name, absolute_path
from .components import Kind
from .providers import provider_of


def with_absolute_names(values: dict[str, Any]) -> dict[str, Any]:
    """The mapping of a `config.yaml` with the absolute paths of the files of code and the world models in it."""
    changed = dict(values)
    for kind in ("env", *get_args(Kind)):
        given = values.get(kind)
        if isinstance(given, str):
            changed[kind] = absolute_component(kind, given)
        elif isinstance(given, dict) and isinstance(given.get("name"), str):
            changed[kind] = given | {"name": absolute_component(kind, given["name"])}
    options = values.get("env_options")
    wrappers = options.get("wrappers") if isinstance(options, dict) else None
    if isinstance(options, dict) and isinstance(wrappers, list | tuple):
        names = [absolute_name(name) if isinstance(name, str) else name for name in wrappers]
        changed["env_options"] = options | {"wrappers": names}
    if isinstance(model := values.get("show_model_memory"), str):
        changed["show_model_memory"] = absolute_folder(model)
    dream = values.get("dream")
    if isinstance(dream, dict) and isinstance(dream.get("model"), str):
        changed["dream"] = dream | {"model": absolute_folder(dream["model"])}
    return changed


def absolute_component(kind: str, name: str) -> str:
    """The same name with an absolute path where it names a file of code, or a folder that its provider loads."""
    provider = provider_of(kind, name)
    if provider is not None and provider.of_folder:
        return provider.prefix + absolute_folder(name.removeprefix(provider.prefix))
    return absolute_name(name)


def absolute_folder(path: str) -> str:
    """A folder's absolute path; none stays none."""
    return str(absolute_path(Path(path))) if path else path
