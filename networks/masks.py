"""Actions that are not allowed now: never chosen, never learned from, never expected."""

from __future__ import annotations

from typing import Any

# Far below any value or logit, and still finite: a sum over all actions stays a number.
FORBIDDEN = -1e30


def action_mask(obs: Any) -> Any | None:
    """Which actions are allowed `[..., A]`, where the observation says so under the key `action_mask`.

    For MultiDiscrete actions A counts the choices of all dimensions, one after another.
    """
    return obs["action_mask"] != 0 if isinstance(obs, dict) and "action_mask" in obs else None


def masked(outputs: Any, mask: Any | None) -> Any:
    """Values or logits `[..., A]` with the forbidden ones out of reach; NumPy arrays or tensors."""
    return outputs if mask is None else outputs * mask + FORBIDDEN * ~mask


def best_action(values: Any, mask: Any | None) -> Any:
    """Index `[...]` of the largest of `values [..., A]` where `mask [..., A]` is true."""
    return masked(values, mask).argmax(-1)
