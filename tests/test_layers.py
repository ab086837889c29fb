"""Who may import whom, checked on the syntax tree."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FOLDERS = ("agents", "configs", "envs", "networks", "training", "world_models")
ALLOWED = {
    "agents": {"networks"},
    "configs": set(),
    "envs": set(),
    "networks": set(),
    "training": {"agents", "configs", "envs", "networks", "world_models"},
    "world_models": {"networks"},
}
# These packages are optional or slow to import: one file each, or those that begin alike, may import them, in a
# function.
CONFINED = {
    "wandb": "training/tracking_wandb.py",
    "stable_baselines3": "training/baseline",
    "sb3_contrib": "training/baseline",
    "wandb_workspaces": "training/tracking_wandb.py",
    "ray": "training/launch.py",
}
# What the component files of a folder share; components import these, never each other.
SHARED = {
    "agents": {
        "agent",
        "buffers",
        "episodes",
        "exploration",
        "noise",
        "replay",
        "returns",
        "sum_tree",
        "windows",
    },
    "networks/memories": set(),
    "networks/encoders": set(),
    "world_models/dynamics": set(),
}
# Coders know only what they share; the rest of their folder is built on each other.
CODERS = {"autoencoder", "identity", "vae"}
# A test-only reader of W&B's files would be a second import; it lives in tests/.
FILES = sorted(path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py"))


def imports(path: Path) -> list[tuple[str, bool]]:
    """Absolute dotted names that a file imports, and whether at module level; ours start with a folder's name."""
    tree = ast.parse(path.read_text())
    top = set(map(id, tree.body))
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [(alias.name, id(node) in top) for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            found.append((node.module, id(node) in top))
        elif isinstance(node, ast.ImportFrom):
            package = path.relative_to(ROOT).parent.parts
            base = package[: len(package) - node.level + 1]
            names = [node.module] if node.module else [alias.name for alias in node.names]
            found += [(".".join((*base, name)), id(node) in top) for name in names]
    return found


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_follow_the_layers(path):
    folder = path.relative_to(ROOT).parts[0]
    for name, _ in imports(path):
        head = name.split(".")[0]
        assert head != "palaestra", f"{name}: imports inside the library are relative"
        if head in FOLDERS and head != folder:
            assert head in ALLOWED[folder], f"{folder} must not import {head} ({name})"


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_optional_packages_stay_in_their_file(path):
    for name, at_top in imports(path):
        home = CONFINED.get(name.split(".")[0])
        if home is not None:
            assert str(path.relative_to(ROOT)).startswith(home), f"{name} may only be imported in {home}"
            assert not at_top, f"{name} must be imported inside a function"


@pytest.mark.parametrize("folder", SHARED)
def test_components_do_not_import_each_other(folder):
    files = {path.stem for path in (ROOT / folder).glob("*.py")} - SHARED[folder] - {"__init__"}
    for stem in files:
        for name, _ in imports(ROOT / folder / f"{stem}.py"):
            parts = name.split(".")
            if "/".join(parts[:-1]) == folder:
                assert parts[-1] not in files - {stem}, f"{stem} imports {name}"


@pytest.mark.parametrize("coder", sorted(CODERS))
def test_coders_do_not_import_each_other(coder):
    names = {name for name, _ in imports(ROOT / "world_models" / f"{coder}.py")}
    assert not names & {f"world_models.{other}" for other in CODERS}


def test_the_checks_see_something():
    """A layer test that parses nothing would always pass."""
    assert len(FILES) > 20
    assert ("networks.heads", True) in imports(ROOT / "agents" / "ppo.py")
    assert ("wandb", False) in imports(ROOT / "training" / "tracking_wandb.py")
