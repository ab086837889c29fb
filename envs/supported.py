"""Which observation and action spaces can be batched into arrays."""

from __future__ import annotations

from gymnasium import spaces

SUPPORTED_SPACES = (
    spaces.Box,
    spaces.Discrete,
    spaces.MultiDiscrete,
    spaces.MultiBinary,
    spaces.Dict,
    spaces.Tuple,
)


def check_spaces(env_id: str, observation_space: spaces.Space, action_space: spaces.Space) -> None:
    """Raise `TypeError` unless both spaces are made of the supported ones, and no part of them is empty."""
    for kind, space in (("observations", observation_space), ("actions", action_space)):
        for path, part in _leaves(space, ""):
            where = f" at {path}" if path else ""
            if not isinstance(part, SUPPORTED_SPACES):
                raise TypeError(
                    f"environment '{env_id}' has {kind} of type {type(part).__name__}{where}; supported are "
                    f"{', '.join(supported.__name__ for supported in SUPPORTED_SPACES)}: "
                    "transform or drop it with a wrapper"
                )
            if part.dtype is not None and part.dtype.itemsize > 8:
                raise TypeError(
                    f"environment '{env_id}' has {kind} of {part.dtype}{where}, which torch does not know: give the "
                    "space another dtype, for example float64"
                )
            nests = isinstance(part, spaces.Dict | spaces.Tuple)
            if nests or 0 in (part.shape or ()):
                shown = str(part) if nests else f"shape {part.shape}"
                raise TypeError(f"environment '{env_id}' has {kind} of {shown}{where}, which hold nothing")


def _leaves(space: spaces.Space, path: str) -> list[tuple[str, spaces.Space]]:
    """Every part of `space` that does not nest, or nests nothing, with its path."""
    match space:
        case spaces.Dict() if space.spaces:
            return [found for key, part in space.items() for found in _leaves(part, f"{path}['{key}']")]
        case spaces.Tuple() if space.spaces:
            return [found for i, part in enumerate(space) for found in _leaves(part, f"{path}[{i}]")]
    return [(path, space)]
