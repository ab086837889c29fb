"""Whether the user is logged in to W&B, found out without the wandb package, whose import takes half a second."""

from __future__ import annotations

import configparser
import netrc
import os
from pathlib import Path
from urllib.parse import urlsplit

from .progress import say

# W&B's own servers, by their old and new names.
WANDB_HOSTS = ("api.wandb.ai", "api.forge.coreweave.com")


def wandb_mode() -> str:
    """What the user's WANDB_MODE asks for: `online`, `offline`, `disabled`, or nothing."""
    mode = os.environ.get("WANDB_MODE", "").lower()
    return {"dryrun": "offline"}.get(mode, mode)


def wandb_login() -> str | None:
    """Return where the user's W&B credentials are, or None.

    Does not ask the network.
    """
    for name in ("WANDB_API_KEY", "WANDB_IDENTITY_TOKEN_FILE"):
        if os.environ.get(name):
            return name
    path = Path(os.environ.get("NETRC", "~/.netrc")).expanduser()
    try:
        entries = netrc.netrc(path)
    except (OSError, netrc.NetrcParseError):
        return None
    return str(path) if any(map(entries.authenticators, wandb_hosts())) else None


def wandb_hosts() -> tuple[str, ...]:
    """Return the names under which the key of the user's W&B server may be filed."""
    folder = Path(os.environ.get("WANDB_CONFIG_DIR", "~/.config/wandb")).expanduser()
    settings = configparser.ConfigParser(interpolation=None)
    try:
        settings.read(folder / "settings")
    except configparser.Error:
        settings.clear()
    url = os.environ.get("WANDB_BASE_URL") or settings.get("default", "base_url", fallback="")
    return (urlsplit(url).netloc,) if url else WANDB_HOSTS


def wandb_wanted() -> bool:
    """Whether `auto` means W&B; where it does not, say how to turn it on."""
    if wandb_mode() == "disabled":
        return False
    if wandb_mode() == "offline" or wandb_login() is not None:
        return True
    say("W&B is off, as you are not logged in; `wandb login` turns it on, `--track wandb` logs offline")
    return False
