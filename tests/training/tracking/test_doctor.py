import importlib.metadata
import json
import os

import pytest
import torch

from palaestra.training.tracking import doctor
from palaestra.training.tracking.doctor import EXTRAS, diagnose, format_diagnosis


@pytest.fixture(autouse=True)
def no_account(monkeypatch, tmp_path):
    for name in [name for name in os.environ if name.startswith("WANDB_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    monkeypatch.setenv("WANDB_CONFIG_DIR", str(tmp_path / "config"))


def test_the_diagnosis_is_json_and_agrees_with_torch():
    diagnosis = json.loads(json.dumps(diagnose()))
    assert diagnosis["torch"] == torch.__version__
    assert diagnosis["device"] == ("cuda" if torch.cuda.is_available() else "cpu")
    assert diagnosis["palaestra"] == importlib.metadata.version("palaestra")
    assert diagnosis["threads"] == torch.get_num_threads() and 1 <= diagnosis["cores"] <= os.cpu_count()
    assert diagnosis["free_disk_gb"] > 0 and diagnosis["wandb_login"] is None


def test_the_extras_it_names_exist():
    assert set(EXTRAS.values()) <= set(importlib.metadata.metadata("palaestra").get_all("Provides-Extra"))


def test_a_missing_package_comes_with_the_command_that_installs_it(monkeypatch):
    monkeypatch.setattr(doctor.importlib.util, "find_spec", lambda name: None)
    text = format_diagnosis(diagnose())
    (line,) = [line for line in text.splitlines() if line.startswith("ale_py")]
    assert line.split(maxsplit=1)[1] == "missing (pip install 'palaestra[atari]')"


def test_an_installed_package_comes_with_its_version(monkeypatch):
    monkeypatch.setitem(EXTRAS, "pytest", "dev")
    assert diagnose()["optional"]["pytest"] == {"version": pytest.__version__, "extra": "dev"}


def test_it_says_how_wandb_stands(monkeypatch):
    assert "not logged in (run: wandb login)" in format_diagnosis(diagnose())
    monkeypatch.setenv("WANDB_API_KEY", "secret")
    monkeypatch.setenv("WANDB_MODE", "offline")
    text = format_diagnosis(diagnose())
    assert "logged in (WANDB_API_KEY), WANDB_MODE=offline" in text and "secret" not in text


def test_it_names_the_gpus():
    diagnosis = diagnose() | {"device": "cuda", "cuda": "12.8", "gpus": ["H200"]}
    text = format_diagnosis(diagnosis)
    assert "CUDA 12.8" in text and "cuda, H200" in text
