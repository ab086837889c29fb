"""Who may import whom, and that no files import each other in a circle, on the syntax tree."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
# What each room may import besides itself; every import counts, those inside functions and for types too.
LEAVES = {"networks"}
BELOW_SETTINGS = LEAVES | {"agents", "configs", "envs", "world_models"}
BELOW_RUN = BELOW_SETTINGS | {"training/settings", "training/tracking"}
BELOW_REWARDS = BELOW_RUN | {"training/run"}
ABOVE_RUN = BELOW_REWARDS | {"training/rewards"}
BELOW_EXPORT = ABOVE_RUN | {"training/baselines", "training/imagination"}
BELOW_SHARING = BELOW_EXPORT | {"training/export"}
BELOW_COMPARISON = BELOW_SHARING | {
    "training/demonstrations",
    "training/groups",
    "training/parallel",
    "training/sharing",
}
ALLOWED = {
    "networks": set(),
    "configs": set(),
    "agents": LEAVES,
    "envs": LEAVES,
    "world_models": LEAVES,
    "training/settings": BELOW_SETTINGS,
    "training/tracking": BELOW_SETTINGS | {"training/settings"},
    "training/run": BELOW_RUN,
    "training/demonstrations": BELOW_REWARDS,
    "training/rewards": BELOW_REWARDS | {"training/demonstrations"},
    "training/baselines": ABOVE_RUN,
    "training/groups": ABOVE_RUN,
    "training/imagination": ABOVE_RUN,
    "training/parallel": ABOVE_RUN,
    "training/export": BELOW_EXPORT,
    "training/sharing": BELOW_SHARING,
    "training/comparison": BELOW_COMPARISON,
    "training/benchmarks": BELOW_COMPARISON,
    "training/cli": BELOW_COMPARISON | {"training/comparison", "training/benchmarks"},
    "training/api": BELOW_COMPARISON | {"training/comparison", "training/benchmarks", "training/cli"},
}
# These packages are optional or slow to import: one file or room each may import them, in a function.
CONFINED = {
    "wandb": "training/tracking/",
    "wandb_workspaces": "training/tracking/",
    "stable_baselines3": "training/baselines/",
    "sb3_contrib": "training/baselines/",
    "onnx": "training/export/",
    "onnxruntime": "training/export/",
    "onnxscript": "training/export/",
    "minari": "training/demonstrations/",
    "ray": "training/comparison/",
    "huggingface_hub": "training/sharing/",
    "jax": "training/benchmarks/",
    "rejax": "training/benchmarks/",
    "rlox": "training/benchmarks/",
}
# Files that are found by name; they import what their folder shares, never each other.
COMPONENTS = {
    "agents": {"bc", "ddpg", "dqn", "ppo", "pqn", "reinforce"},
    "agents/auxiliary": {"curl", "none", "predict", "reconstruct"},
    "networks/encoders": None,  # all of them
    "networks/memories": None,
    "world_models/dynamics": None,
    "training/rewards": {"count", "gail", "labels", "none", "reachability", "rnd"},
    "world_models": {"autoencoder", "identity", "semi_supervised", "vae"},
}
LARGEST_FILE = 350
LARGEST_FOLDER = 20

FILES = sorted(
    path for folder in ("agents", "configs", "envs", "networks", "training", "world_models")
    for path in (ROOT / folder).rglob("*.py")
)  # fmt: skip
MODULES = {str(path.relative_to(ROOT).with_suffix("")): path for path in FILES}


def room_of(module: str) -> str:
    """`training/run` of `training/run/loop`, `envs` of `envs/backends/worker`."""
    parts = module.split("/")
    return "/".join(parts[:2]) if parts[0] == "training" else parts[0]


def package_of(module: str) -> list[str]:
    """Folder that relative imports begin at; `training/api` is imported as `palaestra` itself."""
    folder = module.split("/")[:-1]
    return [] if folder == ["training", "api"] else folder


def absolute_imports(module: str) -> list[tuple[str, bool]]:
    """Other packages that a file imports, and whether at module level."""
    tree = ast.parse(MODULES[module].read_text())
    top = set(map(id, tree.body))
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [(alias.name, id(node) in top) for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            found.append((node.module, id(node) in top))
    return found


def own_imports(module: str) -> set[str]:
    """Modules of ours that a file imports."""
    found = set()
    for node in ast.walk(ast.parse(MODULES[module].read_text())):
        if not isinstance(node, ast.ImportFrom) or node.level == 0:
            continue
        package = package_of(module)
        base = package[: len(package) - node.level + 1] + (node.module.split(".") if node.module else [])
        for name in ["/".join(base), *("/".join([*base, alias.name]) for alias in node.names)]:
            found |= {name, f"{name}/__init__"} & MODULES.keys()
    return found - {module}


def circles(graph: dict[str, set[str]]) -> list[list[str]]:
    """Groups of modules that reach each other (Tarjan's strongly connected components of more than one)."""
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    found = []

    def visit(node: str) -> None:
        index[node] = low[node] = len(index)
        stack.append(node)
        for other in graph[node]:
            if other not in index:
                visit(other)
                low[node] = min(low[node], low[other])
            elif other in stack:
                low[node] = min(low[node], index[other])
        if low[node] == index[node]:
            group = stack[stack.index(node) :]
            del stack[stack.index(node) :]
            if len(group) > 1:
                found.append(sorted(group))

    for node in graph:
        if node not in index:
            visit(node)
    return found


@pytest.mark.parametrize("module", MODULES)
def test_imports_go_down(module):
    for other in own_imports(module):
        room, target = room_of(module), room_of(other)
        assert target == room or target in ALLOWED[room], f"{room} must not import {other}"
    for name, _ in absolute_imports(module):
        assert name.split(".")[0] != "palaestra", f"{name}: imports inside the library are relative"


def test_no_files_import_each_other_in_a_circle():
    assert circles({module: own_imports(module) for module in MODULES}) == []


@pytest.mark.parametrize("module", MODULES)
def test_optional_packages_stay_in_their_room(module):
    for name, at_top in absolute_imports(module):
        home = CONFINED.get(name.split(".")[0])
        if home is not None:
            assert module.startswith(home), f"{name} may only be imported in {home}"
            assert not at_top, f"{name} must be imported inside a function"


@pytest.mark.parametrize("folder", COMPONENTS)
def test_components_do_not_import_each_other(folder):
    files = {path.stem for path in (ROOT / folder).glob("*.py")} - {"__init__"}
    named = files if COMPONENTS[folder] is None else COMPONENTS[folder] & files
    for stem in named:
        others = {f"{folder}/{other}" for other in named - {stem}}
        assert not own_imports(f"{folder}/{stem}") & others, f"{stem} imports another component"


def test_folders_and_files_stay_small():
    for folder in {path.parent for path in FILES}:
        assert len(list(folder.glob("*.py"))) <= LARGEST_FOLDER, f"{folder} has too many files"
    for path in FILES:
        assert len(path.read_text().splitlines()) <= LARGEST_FILE, f"{path} is too long"


def test_the_checks_see_something():
    """A layer test that parses nothing would always pass."""
    assert len(MODULES) > 100
    assert "networks/heads" in own_imports("agents/ppo")
    assert "agents/agent" in own_imports("training/run/loop")
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": {"a"}}) == [["a", "b", "c"]]
    assert ("wandb", False) in absolute_imports("training/tracking/wandb_tracker")
