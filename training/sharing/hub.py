"""Uploading a shared folder to the Hugging Face hub, where the user is logged in."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from ..settings.usage import RunFailedError, UsageError


def check_hub(repository: str) -> None:
    """Make sure that an upload could begin, before anything is made for it.

    Raises:
        UsageError: the name is none, the package is missing, or the user is not logged in.
    """
    if importlib.util.find_spec("huggingface_hub") is None:
        raise UsageError("--push: huggingface_hub is not installed; run: pip install 'palaestra[hub]'")
    from huggingface_hub import get_token
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id

    try:
        validate_repo_id(repository)
    except HFValidationError as error:
        raise UsageError(f"--push: {' '.join(str(error).split())}") from None
    if repository.count("/") != 1:
        raise UsageError(f"--push: expected OWNER/NAME, got {repository!r}")
    if get_token() is None:
        raise UsageError("--push: you are not logged in to the hub; run: hf auth login")


def push(folder: Path, repository: str, private: bool = False) -> str:
    """Upload a folder as a model, which is made where there is none; returns its address.

    Raises:
        RunFailedError: the hub refuses, or cannot be reached; the folder is whole.
    """
    from huggingface_hub import HfApi

    api = HfApi()
    try:
        address = api.create_repo(repository, private=private, exist_ok=True)
        api.upload_folder(
            repo_id=repository,
            folder_path=folder,
            commit_message="A policy trained by Palaestra",
            ignore_patterns=[".lock"],
        )
    except Exception as error:  # its own, its HTTP client's (another one since 2.0) and the system's
        reason = " ".join(str(error).split())
        raise RunFailedError(
            f"{repository} was not uploaded: {reason}; {folder} is whole, and --push can be tried again: "
            f"hf upload {repository} {folder}"
        ) from error
    return str(address)
