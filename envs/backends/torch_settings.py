"""What torch holds for the whole program, and environments that use torch themselves may change."""

from __future__ import annotations

import sys


def restore_torch_settings() -> None:
    """Let operations keep gradients, and new tensors be float32, again."""
    # Worker processes do without torch. Where nobody has imported it, nobody has changed it.
    torch = sys.modules.get("torch")
    if torch is None:
        return
    if not torch.is_grad_enabled():
        torch.set_grad_enabled(True)
    if torch.get_default_dtype() != torch.float32:
        torch.set_default_dtype(torch.float32)
