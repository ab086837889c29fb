"""A folder or file from someone else: whatever it names, nothing of it is run, and every command ends in order."""

import io
import json
import os
import pickle
import shlex
import shutil
import subprocess
import sys
import warnings
import zipfile
from importlib.machinery import PathFinder
from pathlib import Path

import pytest

import palaestra
from palaestra.training.cli.main import run
from palaestra.training.settings.trust import check_names, command_for, may_name, trusting
from palaestra.training.settings.usage import UsageError
from palaestra.training.settings.yaml_files import load_yaml, save_yaml

FITTED = "--env CartPole-v1 --steps 200 --num-envs 2 --track none --fit.updates 4 --fit.batch-size 4"
TINY = (
    "--env CartPole-v1 --steps 200 --num-envs 2 --agent.rollout-length 16 --track none --evaluate-episodes 1"
)


@pytest.fixture(scope="module")
def healthy(tmp_path_factory):
    """A finished run, `run`, and a world model, `model`."""
    folder = tmp_path_factory.mktemp("healthy")
    assert run(["train", "ppo", *TINY.split(), "--out", str(folder / "run")]) == 0
    assert run(["world-model", "fit", *FITTED.split(), "--out", str(folder / "model")]) == 0
    return folder


@pytest.fixture(scope="module")
def of_stable_baselines3(tmp_path_factory):
    """A finished run of Stable-Baselines3's PPO."""
    pytest.importorskip("stable_baselines3")
    folder = tmp_path_factory.mktemp("theirs") / "run"
    words = "--env CartPole-v1 --steps 64 --num-envs 2 --agent.n-steps 16 --agent.batch-size 16"
    words += " --track none --evaluate-episodes 1"
    assert run(["train", "sb3/ppo", *words.split(), "--out", str(folder)]) == 0
    return folder


@pytest.fixture
def here(healthy, tmp_path, monkeypatch):
    """A copy of both in the working directory, where a module lies that leaves a mark when it is imported."""
    for name in ("run", "model"):
        shutil.copytree(healthy / name, tmp_path / name)
    mark = tmp_path / "mark"
    for name in ("planted", "minigrid", "sb3_contrib_extras"):
        (tmp_path / f"{name}.py").write_text(
            f"open({str(mark)!r}, 'w')\nimport gymnasium\n"
            "class Env(gymnasium.Env): pass\nclass Agent: pass\n"
            "gymnasium.register('Planted-v0', entry_point=Env)\n"
        )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [path for path in sys.path if path not in ("", str(tmp_path))])
    yield tmp_path
    sys.modules.pop("planted", None)


def touching(here):
    """Arguments of `subprocess:call` that leave the mark."""
    return {"args": ["touch", str(here / "mark")]}


def names(here):
    """What a config may say that would run code, by what it is."""
    inner = f'palaestra.envs.wrappers.by_name:apply_wrappers(wrappers=[\'subprocess:call(args=["touch", "{here}/mark"])\'])'  # noqa: E501
    return {
        "a command": {"env": "subprocess:call", "env_kwargs": touching(here)},
        "a command, no encoder": {"env": "subprocess:call", "env_kwargs": touching(here), "encoder": None},
        "a class of another module": {"env": "subprocess:Popen", "env_kwargs": touching(here)},
        "a module here": {"env": "planted:Env"},
        "an id of a module here": {"env": "planted:Planted-v0"},
        "a function of ours": {
            "env": "palaestra.envs.registry:find_environment",
            "env_kwargs": {"env_id": "planted:x"},
        },
        "a wrapper": {"env_options": {"wrappers": ["planted:Env"]}},
        "a wrapper that is a command": {"env_options": {"wrappers": ["os:system"]}},
        "a wrapper of ours that applies others": {"env_options": {"wrappers": [inner]}},
        "an agent": {"agent": {"name": "planted:Agent"}},
        "an agent as text": {"agent": "planted:Agent"},
        "an encoder": {"encoder": {"name": "planted:Agent"}},
        "a memory": {"memory": {"name": "planted:Agent"}},
        "a bonus": {"bonus": {"name": "planted:Agent"}},
        "dynamics": {"dynamics": {"name": "planted:Agent"}},
        "a file": {"env": f"{here}/planted.py:Env"},
        "a wrapper in a file": {"env_options": {"wrappers": [f"{here}/planted.py:Env"]}},
        "an agent in a file": {"agent": {"name": f"{here}/planted.py:Agent"}},
    }


def commands(folder):
    """Every command that reads a run or a world model, and what it may exit with where those are not trusted."""
    return {
        "runs": (0,),
        "runs --json": (0,),
        "matrix": (0, 2),
        "evaluate run": (2,),
        "compare run --episodes 1": (2,),
        "train --resume run": (2,),
        "train --resume run --steps 300": (2,),
        "train ppo --config run/config.yaml --out new": (2,),
        "world-model evaluate model": (2,),
        "world-model evaluate model --policy run": (2,),
        "world-model fit --resume model": (2,),
        "world-model fit --config model/world_model.yaml --out new": (2,),
        "world-model dream model --agent ppo --out new": (2,),
        "bench dream model": (2,),
    }


def in_order(words, capsys):
    """Run a command; returns its exit code, and what it says on stderr."""
    capsys.readouterr()
    code = run(words.split())
    output = capsys.readouterr()
    assert "Traceback" not in output.err + output.out, words
    assert sum(line.startswith("error") for line in output.err.splitlines()) == (code != 0), (
        words,
        output.err,
    )
    return code, output.err


KINDS = list(names(Path()))


# Each takes seconds: two of them in every session, the rest with -m slow.
@pytest.mark.parametrize(
    "kind", [*KINDS[:2], *(pytest.param(kind, marks=pytest.mark.slow) for kind in KINDS[2:])]
)
def test_nothing_that_a_folder_names_is_run(kind, here, capsys):
    values = names(here)[kind]
    for folder, file in (("run", "config.yaml"), ("model", "world_model.yaml")):
        path = here / folder / file
        kept = load_yaml(path) | values
        kept = {name: value for name, value in kept.items() if value is not None}
        if folder == "model":
            kept = {name: value for name, value in kept.items() if name in (*load_yaml(path), "env_options")}
        save_yaml(path, kept)
    of_runs = kind != "dynamics"
    of_models = not {"wrapper", "agent", "memory", "bonus"} & set(kind.split())
    for command, codes in commands(here).items():
        code, error = in_order(
            command.replace("runs", f"runs {here}").replace("matrix", f"matrix {here}"), capsys
        )
        about_model = "model" in command
        if "agent" in kind and "train ppo" in command:
            codes = (0,)  # the agent that was typed stands in place of the file's
        if (about_model and not of_models) or (not about_model and not of_runs):
            assert code in (0, 1, 2)
        else:
            assert code in codes, (command, error)
            if code == 2 and not command.startswith("matrix"):
                assert "--trust" in error and "from outside" in error, (command, error)
        assert not (here / "mark").exists(), command
        shutil.rmtree(here / "new", ignore_errors=True)
    with pytest.raises(UsageError, match="trust=True"):
        (palaestra.load_policy("run") if of_runs else palaestra.load_world_model("model"))
    assert not (here / "mark").exists()


def test_what_was_typed_is_run_and_what_was_kept_of_it_takes_trust(here, capsys):
    (here / "mine.py").write_text(
        "from palaestra.envs.tasks.corridor import Corridor as Hall\nclass Mine(Hall): pass\n"
    )
    words = TINY.replace("CartPole-v1", "mine:Mine") + " --env-kwargs max_episode_steps=20"
    assert run(["train", "ppo", *words.split(), "--out", "own"]) == 0
    assert "palaestra evaluate own --episodes 100 --video own/videos --trust" in capsys.readouterr().out
    code, error = in_order("evaluate own --episodes 1", capsys)
    assert code == 2 and error == (
        "error: own/config.yaml names an environment from outside, 'mine:Mine', whose code would be run; if you "
        "trust it: palaestra evaluate own --episodes 1 --trust\n"
    )
    for command in (
        "evaluate own --episodes 1",
        "train --resume own --steps 250",
        "compare own --episodes 1",
    ):
        assert in_order(f"{command} --trust", capsys)[0] == 0
    # What is typed once more need not be trusted.
    words = "train ppo --config own/config.yaml --env mine:Mine --steps 200 --out again"
    assert in_order(words, capsys)[0] == 0
    assert palaestra.load_policy("own", trust=True).action_space
    with pytest.raises(UsageError, match="trust=True"):
        palaestra.load_policy("own")


def test_a_file_that_was_typed_is_trusted_by_its_absolute_path(here):
    path = here / "planted.py"
    assert not may_name("environment", f"{path}:Env")
    with trusting(["train", "ppo", "--env", "./planted.py:Env"]):
        assert may_name("environment", f"{path}:Env") and not may_name("environment", f"{path}:Other")
    with trusting(names=["from-python:Env"]):
        assert may_name("environment", "from-python:Env")
    with pytest.raises(UsageError, match=r"palaestra.load\('run', env=Env\)"):
        check_names({"env": "from-python:Env"}, "run/config.yaml")


def test_modules_here_do_not_stand_for_others(here, capsys):
    """Without a name from outside on the command line, nothing is looked up in the working directory."""
    (here / "tensorboard.py").write_text(f"open({str(here / 'mark')!r}, 'w')")
    values = load_yaml(here / "run" / "config.yaml") | {"env": "MiniGrid-Empty-5x5-v0"}
    save_yaml(here / "run" / "config.yaml", values)
    for command in ("runs .", "evaluate run", "compare run --episodes 1"):
        in_order(command, capsys)
        assert not (here / "mark").exists()


@pytest.mark.parametrize(
    ("kind", "name", "allowed"),
    [
        ("environment", "CartPole-v1", True),
        ("environment", "no-such-id", True),  # reported where it is made
        ("environment", "palaestra/Recall-v0", True),
        ("environment", "palaestra.envs:palaestra/Recall-v0", True),
        ("environment", "palaestra.envs.tasks.corridor:Corridor", True),
        ("environment", "palaestra.envs.corridor:Corridor", True),  # its name in 0.1.0
        ("environment", "palaestra.envs.tasks.corridor:np", False),
        ("environment", "palaestra.training.cli.main:run", False),
        ("environment", "gymnasium.envs.classic_control:CartPole-v1", True),
        ("environment", "gymnasium.envs.classic_control:CartPoleEnv", False),
        ("environment", "tqdm:CartPole-v1", True),
        ("environment", "tqdm.__main__:CartPole-v1", False),
        ("environment", "os:CartPole-v1", False),
        ("environment", "../x:CartPole-v1", False),
        ("environment", "GymV26Environment-v0", False),
        ("environment", "/somewhere/x.py:Env", False),
        ("environment", "x.py:CartPole-v1", False),
        ("environment", "from-python:Env", False),
        ("wrapper", "./x.py:Wrap(size=3)", False),
        ("agent", "./x.py:Agent", False),
        ("agent", "from-python:Agent", False),
        ("wrapper", "palaestra.envs.wrappers.minigrid:onehot", True),
        ("wrapper", "palaestra.envs.minigrid:onehot", True),  # its name in 0.1.0
        ("wrapper", "palaestra.envs.wrappers.atari:preprocess(stack=2)", True),
        ("wrapper", "palaestra.envs.wrappers.action_mask:gymnasium", False),
        ("wrapper", "palaestra.envs.wrappers.by_name:find_wrapper", False),
        ("wrapper", "gymnasium.wrappers:RecordVideo(video_folder='x')", False),
        ("agent", "ppo", True),
        ("agent", "../ppo", True),  # refused as unknown, before anything is opened
        ("agent", "sb3/ppo", True),
        ("agent", "palaestra.agents.ppo:PPO", False),
        ("encoder", "world-model:somewhere", True),  # whose own config is looked at
        ("memory", "a:B", False),
        ("file", "../ant.xml", False),
        ("reward", "a:B", False),
    ],
)
def test_what_a_file_may_name(kind, name, allowed, capsys):
    assert may_name(kind, name) is allowed
    with trusting(["train", "--trust"]):
        assert may_name(kind, name)
    with trusting(["train", f"--env={name}"]):
        assert may_name(kind, name)
    assert may_name(kind, name) is allowed


def test_no_warning_of_another_finder_is_passed_on(monkeypatch):
    """Setuptools' warns where it is asked for pip and distutils is there, as it is once something was compiled."""

    class Warner:
        def find_spec(self, name, path=None, target=None):
            if name == "pip" and not asked:  # then distutils is no longer there
                asked.append(name)
                warnings.warn("Setuptools is replacing distutils", UserWarning, stacklevel=2)
            # Asked for pip, setuptools' own would leave distutils to Python from here on, whose import is a warning.
            return PathFinder.find_spec(name, path) if name == "pip" else None

    asked = []
    monkeypatch.delitem(sys.modules, "pip", raising=False)
    monkeypatch.setattr(sys, "meta_path", [Warner(), *sys.meta_path])
    assert may_name("environment", "pip:CartPole-v1")
    assert asked


def test_the_command_that_is_advised():
    passed = {"env": "from-python:Env", "agent": {"name": "from-python:Mine"}}
    assert (
        command_for(passed, "train", "--resume", "a") == "palaestra.load('a', agent=Mine, env=Env).resume()"
    )
    assert command_for(passed, "evaluate", "a", "--episodes", 100) == (
        "palaestra.load('a', agent=Mine, env=Env).evaluate()"
    )
    assert (
        command_for({"env": "CartPole-v1", "agent": {"name": "ppo"}}, "evaluate", "a")
        == "palaestra evaluate a"
    )
    with trusting(["train", "a:B"]):
        assert command_for({"env": "a:B"}, "evaluate", "a") == "palaestra evaluate a --trust"
    with (
        trusting(["evaluate", "a folder"]),
        pytest.raises(UsageError, match=r"palaestra evaluate 'a folder' --trust$"),
    ):
        check_names({"env": "a:B"}, "x")


def test_commands_can_be_pasted_whatever_a_folder_is_called():
    command = command_for({"env": "CartPole-v1"}, "train", "--resume", Path("my runs/a"), "b")
    assert command == "palaestra train --resume 'my runs/a' b"
    assert shlex.split(command)[3:] == ["my runs/a", "b"]


@pytest.mark.parametrize("path", ["/etc/passwd", "../ant.xml", "~/ant.xml", "C:\\\\ant.xml", "file:ant.xml"])
def test_files_among_the_arguments_of_an_environment_take_trust(path):
    values = {"env": "Ant-v5", "env_kwargs": {"render": {"models": ["ant.xml", path]}, "size": 3}}
    with pytest.raises(
        UsageError, match=r"^x names a file, '.*', which the environment may read or write; if you"
    ):
        check_names(values, "x")
    with trusting(["train", "--env-kwargs", f"xml_file={path}"]):
        check_names(values, "x")
    assert command_for(values, "evaluate", "a") == "palaestra evaluate a --trust"
    check_names(values | {"env_kwargs": {"xml_file": "ant.xml", "id": "v2:pen", "size": 3}}, "x")


def test_as_a_module_the_command_looks_for_nothing_here(tmp_path):
    """Python alone would take a folder's own modules for ours, and for those of other packages."""
    (tmp_path / "numpy.py").write_text("raise SystemExit('planted')")
    words = [sys.executable, "-W", "ignore", "-m", "palaestra", "envs", "list", "CartPole-v1"]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0 and "CartPole-v1" in done.stdout


@pytest.mark.parametrize(
    "values",
    [
        {"matches": [{"agents": ["planted:Agent"], "environments": {"CartPole-v1": 100}}]},
        {"matches": [{"agents": ["ppo"], "environments": {"planted:Env": 100}}]},
        {"matches": [{"agents": [{"agent": "ppo", "options": {"encoder": "planted:Agent"}}], "environments": {"CartPole-v1": 100}}]},  # noqa: E501
        {"matches": [{"agents": [{"agent": "ppo", "config": "other.yaml"}], "environments": {"CartPole-v1": 100}}]},
        {"agent": "planted:Agent", "env": "CartPole-v1", "steps": 100, "space": {"agent.gamma": {"choices": [0.9]}}},
        {"agent": "ppo", "env": "planted:Env", "steps": 100, "space": {"agent.gamma": {"choices": [0.9]}}},
        {"agent": "ppo", "env": "CartPole-v1", "steps": 100, "space": {"encoder.name": {"choices": ["mlp", "planted:Agent"]}}},  # noqa: E501
        {"agent": "ppo", "env": "CartPole-v1", "steps": 100, "space": {"env_options.wrappers": {"choices": [["planted:Env"]]}}},  # noqa: E501
        {"agent": "../../../x", "env": "CartPole-v1", "steps": 100, "space": {"agent.gamma": {"choices": [0.9]}}},
    ],
    ids=str,
)  # fmt: skip
def test_suites_and_sweeps_are_data(values, here, capsys):
    save_yaml(here / "other.yaml", {"memory": "planted:Agent"})
    save_yaml(here / "file.yaml", values)
    command = "compare file.yaml --out new" if "matches" in values else "sweep file.yaml --out new"
    code, error = in_order(command, capsys)
    assert code == 2 and ("from outside" in error or "unknown agent" in error)
    assert not (here / "mark").exists() and not (here / "new" / "runs").exists()


def test_cycles_are_data(here, capsys):
    save_yaml(here / "run" / "cycle.yaml", {"real_steps": 100, "world_model": "planted:Agent+ensemble"})
    for command in ("train --resume run", "world-model dream --resume run", "runs .", "matrix ."):
        in_order(command, capsys)
        assert not (here / "mark").exists()
    assert "from outside" in in_order("train --resume run", capsys)[1]


def test_findings_are_data(here, capsys):
    pytest.importorskip("matplotlib")
    assert in_order("compare run --episodes 1 --out one", capsys)[0] == 0
    text = (here / "one" / "comparison.json").read_text()
    found = json.loads(text.replace('"ppo"', '"planted:Agent"'))
    (here / "other.json").write_text(json.dumps(found))
    in_order("compare other.json --out two", capsys)
    assert not (here / "mark").exists()


BOMB = "a: &a [x, x]\nb: &b [*a, *a]\nc: [*b, *b]\n"


@pytest.mark.parametrize(
    "text",
    [
        "!!python/object/apply:os.system ['touch mark']",
        "env: !!python/object/apply:os.system ['touch mark']",
        "env: !!python/name:os.system",
        "env: !!python/module:planted",
        "env: !!int x",
        "env: !!timestamp x",
        "steps: " + "9" * 5000,
        "env: !!set {a, b}",
        "? [a]\n: b",
        BOMB,
        "a: &a [*a]",
        "a: " + "[" * 5000,
        "- a",
        "\x00",
    ],
    ids=range(14),
)
# All commands read files by the same function: one of each kind by default.
@pytest.mark.parametrize("every", [False, pytest.param(True, marks=pytest.mark.slow)], ids=["some", "every"])
def test_yaml_is_data(every, text, here, capsys):
    for path in ("run/config.yaml", "model/world_model.yaml", "file.yaml"):
        (here / path).write_text(text)
    others = ["compare file.yaml", "sweep file.yaml", "train ppo --config file.yaml --env X"]
    some = ["runs", "matrix", "train --resume run", "world-model evaluate model"]
    for command in [*(commands(here) if every else some), *others]:
        if command.startswith(("runs", "matrix")):
            command = command.replace("runs", "runs .").replace("matrix", "matrix .")
        code, _ = in_order(command, capsys)
        assert code == 2 or command.startswith("runs")
        assert not (here / "mark").exists()


class Touch:
    """Leaves a mark when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.system, (f"touch {self.path}",)


@pytest.mark.parametrize(
    "member",
    [
        *("data", "policy.pth"),
        *(
            pytest.param(f"{name}.pth", marks=pytest.mark.slow)
            for name in ("pytorch_variables", "policy.optimizer")
        ),
    ],
)
def test_a_model_of_stable_baselines3_is_not_unpickled(member, here, of_stable_baselines3, capsys):
    import base64

    import torch

    shutil.copytree(of_stable_baselines3, here / "theirs")
    with zipfile.ZipFile(here / "theirs" / "model.zip") as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    pickled = pickle.dumps(Touch(here / "mark"))
    if member == "data":
        data = json.loads(files["data"])
        planted = {":type:": "x", ":serialized:": base64.b64encode(pickled).decode()}
        files["data"] = json.dumps(
            {name: planted if isinstance(x, dict) else x for name, x in data.items()}
        ).encode()
    else:
        stream = io.BytesIO()
        torch.save({"x": Touch(here / "mark")}, stream)
        files[member] = stream.getvalue()
    with zipfile.ZipFile(here / "theirs" / "model.zip", "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    (here / "theirs" / "normalization.npz").write_bytes(pickled)
    code, _ = in_order("evaluate theirs --episodes 1", capsys)
    assert code == (2 if member == "policy.pth" else 0)
    in_order("compare theirs --episodes 1", capsys)
    assert not (here / "mark").exists()


@pytest.mark.parametrize(
    "name",
    [
        "config.yaml.tmp",
        ".lock",
        "metrics.jsonl",
        "evaluations.tmp",
        "summary.json",
        "checkpoints",
        "sessions.jsonl",
    ],
)
@pytest.mark.slow
def test_nothing_is_written_through_a_link(name, here, tmp_path_factory, capsys):
    outside = tmp_path_factory.mktemp("outside")
    path = here / "run" / name
    if path.is_dir():
        shutil.copytree(path, outside / "there")
        shutil.rmtree(path)
    else:
        (outside / "there").write_bytes(path.read_bytes() if path.exists() else b"precious")
        path.unlink(missing_ok=True)
    path.symlink_to(outside / "there")
    before = {file: file.read_bytes() for file in outside.rglob("*") if file.is_file()}
    for command in ("train --resume run --steps 400", "compare run --episodes 1 --out new"):
        code, error = in_order(command, capsys)
        assert code == 2 and "link" in error
        assert {file: file.read_bytes() for file in outside.rglob("*") if file.is_file()} == before
