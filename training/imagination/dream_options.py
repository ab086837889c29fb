"""Options of `palaestra world-model dream`: a run whose environment is the dream of a fitted world model."""

from __future__ import annotations

from pathlib import Path

from ..settings.arguments import option_value
from ..settings.config import RunConfig
from ..settings.train_options import assignment_words, read_train_options
from ..settings.usage import UsageError
from .world_model_config import load_model_config


def read_dream_options(agent: str, arguments: list[str]) -> tuple[RunConfig, Path | None]:
    """Return the config of a run in the dream of the world model that the first argument names, and `--out`.

    Raises:
        UsageError: no world model is named, or an option contradicts it.
    """
    if not arguments or arguments[0].startswith("-"):
        raise UsageError(
            "which world model? palaestra world-model dream DIR --agent ppo, or --env ID --real-steps N for a new one"
        )
    model, options = arguments[0], arguments[1:]
    fitted = load_model_config(Path(model))
    if env := option_value(options, "env"):
        raise UsageError(f"--env {env}: {model} says itself that it is a world model of {fitted.env}")
    kwargs = assignment_words(fitted.env_kwargs)
    words = ["--env", fitted.env, "--dream.model", model, "--frame-stack", str(fitted.frame_stack)]
    words += ["--env-kwargs", *kwargs] if kwargs else []
    return read_train_options(agent, [*words, *options])


def without_option(arguments: list[str], name: str) -> list[str]:
    """Leave out `--name VALUE` or `--name=VALUE`."""
    kept, skip = [], False
    for word in arguments:
        if skip:
            skip = False
        elif word == f"--{name}":
            skip = True
        elif not word.startswith(f"--{name}="):
            kept.append(word)
    return kept
