import json
import re
import shutil
import subprocess
import sys
import textwrap

import pytest

from palaestra.training.cli.main import run
from palaestra.training.settings.config import load_config

from ..wandb_file import finished_run

TINY = ["--steps", "1k", "--num-envs", "4", "--evaluate-episodes", "2", "--track", "none"]


def train(*words):
    return run(["train", *words])


@pytest.fixture
def trained(tmp_path):
    run_dir = tmp_path / "run"
    assert train("ppo", "--env", "CartPole-v1", *TINY, "--out", str(run_dir)) == 0
    return run_dir


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        ("tarin ppo", ["unknown command 'tarin'", "'train'"]),
        ("train", ["which agent?", "ppo"]),
        ("train ppo", ["which environment?", "--env"]),
        ("train ppoo --env CartPole-v1", ["unknown agent 'ppoo'", "'ppo'"]),
        ("train ppo --env CartPol-v1", ["CartPol-v1", "CartPole-v1"]),
        ("train ppo --env CartPole-v1 --agent.gama 0.5", ["--agent.gama", "--agent.gamma"]),
        ("train ppo --env CartPole-v1 --agent.gamma abc", ["--agent.gamma", "'abc'"]),
        ("train ppo --env CartPole-v1 --agent.gamma 1.5", ["agent.gamma", "must be <= 1", "1.5"]),
        (
            "train ppo --env CartPole-v1 --agent.learning-rate linear(1",
            ["--agent.learning-rate: cannot read schedule", "linear(1"],
        ),
        (
            "train ppo --env CartPole-v1 --memory transformer --memory.heads 5",
            ["error: --memory.heads: must divide"],
        ),
        ("train ppo --env CartPole-v1 --seed 1e30", ["--seed: must be <", "got 1000"]),
        ("train ppo --env CartPole-v1 --backend asink", ["--backend: unknown choice 'asink'", "'async'"]),
        (
            "train ppo --env CartPole-v1 --env-kwargs max_episode_steps=0",
            ["max_episode_steps", "at least 1, got 0"],
        ),
        ("train dqn --env CartPole-v1 --config rainbw", ["rainbw", "preset of dqn; did you mean 'rainbow'?"]),
        ("train ppo --env CartPole-v1 --out", ["argument '--out'. Expected 1 values. (see palaestra"]),
        ("train ppo --env CartPole-v1 --steps 1.5", ["--steps", "not a whole number", "1.5"]),
        (
            "train ppo --env CartPole-v1 --agent.share-torso yes",
            ["--agent.share-torso", "neither true nor", "'yes'"],
        ),
        ("train ppo --env CartPole-v1 --steps 0", ["steps", "must be > 0"]),
        ("train ppo --env CartPole-v1 --encoder mpl", ["unknown encoder 'mpl'", "'mlp'"]),
        ("train ppo --env CartPole-v1 --encoder cnn", ["encoder 'cnn' takes pictures", "(4,)", "use mlp"]),
        (
            "train ppo --env palaestra/Catch-v0 --encoder cnn --encoder.layers nature",
            ["encoder.layers: nature needs pictures of 36x36 or more, got 10x5; use small"],
        ),
        ("train ppo --env FrozenLake-v1 --frame-stack 2", ["frame_stack", "Discrete(16)"]),
        ("train ppo --env CartPole-v1 --memory nome", ["unknown memory 'nome'", "'none'"]),
        ("train ppo --env CartPole-v1 --env-kwargs size", ["NAME=VALUE", "'size'"]),
        ("train ppo --env CartPole-v1 --env-kwargs size=3", ["CartPole-v1", "'size'"]),
        ("train ppo --env CartPole-v1 --track wandbb", ["--track: unknown choice 'wandbb'", "mean 'wandb'?"]),
        ("train ppo --env CartPole-v1 --num-envs 0", ["--num-envs: must be > 0, got 0"]),
        ("train ppo --env CartPole-v1 --env.timeout -1", ["--env.timeout: must be >= 0, got -1.0"]),
        ("train ddpg --env CartPole-v1", ["'ddpg' takes float Box", "Discrete(2); use dqn or ppo or pqn"]),
        ("train dqn --env Pendulum-v1", ["'dqn' takes Discrete", "use ddpg or ppo or reinforce"]),
        ("train ppo --env CartPole-v1 --config nowhere.yaml", ["nowhere.yaml", "No such file"]),
        ("train ppo --env CartPole-v1 --agent.noise-correlation 0.5", ["noise_correlation", "Discrete(2)"]),
        ("train no_such_package:Agent --env CartPole-v1", ["cannot import no_such_package"]),
        ("train --resume nowhere", ["nowhere is not a run"]),
        ("train --resume", ["--resume: say which folder"]),
        ("world-model fit --resume", ["--resume: say which folder"]),
        ("world-model fit --env CartPole-v1 --out model --steps 3", ["--steps: 3 are too few for 8 copies"]),
        (
            "world-model fit --env CartPole-v1 --out model --env-kwargs max_episode_steps=x",
            ["max_episode_steps", "'x'"],
        ),
        ("compare . --episodes 0", ["--episodes: must be at least 1, got 0"]),
        ("evaluate nowhere", ["nowhere is not a run"]),
        ("evaluate nowhere --episodes 0", ["--episodes", "at least 1"]),
        ("runs nowhere", ["no folder nowhere"]),
        ("bench nothing", ["unknown benchmark 'nothing'"]),
        ("bench --repeats 0", ["--repeats: must be at least 1, got 0"]),
        ("bench envs CartPol-v1", ["CartPol-v1", "CartPole-v1"]),
        ("bench envs CartPole-v1 --seconds 0", ["--seconds: must be above 0"]),
        ("envs list LunarLandr", ["contains 'LunarLandr'; did you mean 'LunarLander'?"]),
        ("envs survey zzzzz", ["contains 'zzzzz'"]),
        ("envs lst", ["envs lst", "'list'"]),
        ("envs check CartPol-v1", ["CartPol-v1", "CartPole-v1"]),
    ],
)
def test_bad_input_gets_one_line_and_exit_code_2(words, parts, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert run(words.split()) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and error.count("\n") == 1
    for part in parts:
        assert part in error
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "words",
    [
        "train ppo --env CartPole-v1 --out file/run",
        "evaluate run --video file",
        "matrix run --out file/page.md",
        "compare run --out file",
        "world-model fit --env CartPole-v1 --out file/model",
    ],
)
def test_a_folder_that_cannot_be_made_is_named(words, trained, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").touch()
    capsys.readouterr()
    assert run(words.split()) == 2
    assert re.search(
        r"^error: file\S*: (Not a directory|File exists)$", capsys.readouterr().err, re.MULTILINE
    )


def test_what_cannot_be_drawn_is_not_evaluated_first(tmp_path, monkeypatch, capsys):
    out = str(tmp_path / "run")
    words = ["ppo", "--env", "palaestra/ProbeAction-v0", "--steps", "64", "--evaluate-episodes", "2"]
    words += ["--agent.rollout-length", "8"]
    assert train(*words, "--track", "none", "--out", out) == 0
    monkeypatch.setattr(
        "palaestra.training.run.score.evaluate", lambda *given, **named: pytest.fail("evaluated")
    )
    assert run(["evaluate", out, "--video", str(tmp_path / "videos")]) == 2
    assert "cannot be drawn" in capsys.readouterr().err


def test_ctrl_c_ends_any_command_in_one_line(monkeypatch, capsys):
    def interrupted(folder):
        raise KeyboardInterrupt

    monkeypatch.setattr("palaestra.training.run.listing.find_runs", interrupted)
    assert run(["runs"]) == 130
    assert capsys.readouterr().err == "stopped\n"


def test_no_command_shows_all_of_them(capsys):
    assert run([]) == 2
    assert run(["--help"]) == 0
    for command in ("train", "evaluate", "runs", "bench", "envs check", "doctor"):
        assert command in capsys.readouterr().out or command


def test_the_version_is_said(capsys):
    assert run(["--version"]) == 0
    assert re.fullmatch(r"palaestra \d+\.\d+\.\d+\S*\n", capsys.readouterr().out)


def test_help_of_an_agent_shows_every_option_with_its_text(capsys):
    with pytest.raises(SystemExit) as stop:
        train("ppo", "--help")
    text = capsys.readouterr().out
    assert not stop.value.code
    for option in (
        "--env ",
        "--agent.clip-range",
        "--encoder.hidden",
        "--memory ",
        "--out",
        "Discount of the future",
    ):
        assert option in text


def test_a_run_folder_has_everything(trained):
    assert {path.name for path in trained.iterdir()} >= {
        "config.yaml",
        "metrics.jsonl",
        "checkpoints",
        "evaluations.json",
        "learning_curve.png",
        "summary.json",
    }
    assert json.loads((trained / "summary.json").read_text())["step"] >= 1000


def test_options_win_over_the_file_and_the_file_over_the_preset(tmp_path):
    file = tmp_path / "mine.yaml"
    file.write_text("agent: {gamma: 0.9, epochs: 2}\nencoder: {hidden: [8]}\nevaluate_episodes: 2\n")
    words = ["ppo", "--env", "CartPole-v1", "--config", str(file), "--agent.epochs", "1", "--steps", "1e3"]
    words += ["--num-envs", "4"]
    assert train(*words, "--track", "none", "--out", str(tmp_path / "run")) == 0
    config = load_config(tmp_path / "run")
    assert config.agent_config.epochs == 1
    assert config.agent_config.gamma == 0.9
    assert config.agent_config.gae_lambda == 0.9  # the preset's
    assert config.encoder_config.hidden == (8,)
    assert config.steps == 1000
    # Complete, so that it trains the same run again.
    again = ["ppo", "--config", str(tmp_path / "run" / "config.yaml"), "--out", str(tmp_path / "again")]
    assert train(*again) == 0
    assert load_config(tmp_path / "again") == config


def test_environment_arguments_are_typed(tmp_path, capsys):
    words = ["ppo", "--env", "Acrobot-v1", "--env-kwargs", "max_episode_steps=20", *TINY]
    words += ["--agent.rollout-length", "64"]
    assert train(*words, "--out", str(tmp_path / "run")) == 0
    assert load_config(tmp_path / "run").env_kwargs == {"max_episode_steps": 20}
    assert run(["evaluate", str(tmp_path / "run"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["length_mean"] <= 20


def test_evaluate_prints_one_json_object(trained, capsys):
    capsys.readouterr()
    assert run(["evaluate", str(trained), "--episodes", "7", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report.keys() >= {
        *("env", "episodes", "return_mean", "return_std", "return_iqm", "return_min", "return_max"),
        *("length_mean", "steps_trained", "agent", "seed"),
    }
    assert report["episodes"] == 7 and report["steps_trained"] >= 1000
    assert run(["evaluate", str(trained), "--episodes", "7", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == report
    assert run(["evaluate", str(trained), "--episodes", "7", "--json", "--seed", "5"]) == 0
    assert json.loads(capsys.readouterr().out) != report


@pytest.mark.filterwarnings("ignore")  # pygame's own
def test_evaluate_writes_a_video(trained, tmp_path, capsys):
    import imageio.v3 as imageio

    capsys.readouterr()
    assert run(["evaluate", str(trained), "--episodes", "1", "--json", "--video", str(tmp_path / "v")]) == 0
    video = json.loads(capsys.readouterr().out.splitlines()[-1])["video"]
    frames = imageio.imread(video)
    assert frames.ndim == 4 and len(frames) > 5 and frames.std() > 0


@pytest.mark.filterwarnings("ignore")  # pygame's own
def test_a_run_films_what_it_has_learned(tmp_path, capsys, offline_wandb):
    folder = tmp_path / "run"
    words = ["train", "ppo", "--env", "palaestra/Corridor-v0", "--steps", "64", "--num-envs", "2", "--video"]
    short = ["--agent.rollout-length", "16", "--evaluate-episodes", "2", "--track", "wandb"]
    assert run([*words, *short, "--out", str(folder)]) == 0
    (film,) = (folder / "videos").iterdir()
    assert film.name == "step-000000064.mp4" and film.stat().st_size > 0
    logged = finished_run(next((folder / "wandb").glob("offline-run-*/*.wandb")))
    assert logged.artifacts == [f"checkpoint-{logged.run_id}", f"video-{logged.run_id}"]
    assert any(name.startswith("video/") for row in logged.history for name in row)


def test_what_cannot_be_drawn_is_not_filmed(tmp_path, capsys):
    words = ["train", "ppo", "--env", "palaestra/ProbeAction-v0", "--video", "--out", str(tmp_path / "run")]
    assert run(words) == 2
    assert "cannot be drawn" in capsys.readouterr().err and not (tmp_path / "run").exists()


def test_runs_are_listed(trained, capsys):
    capsys.readouterr()
    assert run(["runs", str(trained.parent), "--json"]) == 0
    (found,) = json.loads(capsys.readouterr().out)["runs"]
    assert found["agent"] == "ppo" and found["env"] == "CartPole-v1" and found["finished"]
    assert run(["runs", str(trained.parent)]) == 0
    assert "CartPole-v1" in capsys.readouterr().out


def test_a_damaged_summary_hides_no_run(trained, capsys):
    (trained / "summary.json").write_text("[]")
    (trained / "evaluations.json").write_text("{}")
    capsys.readouterr()
    assert run(["runs", str(trained.parent), "--json"]) == 0
    (found,) = json.loads(capsys.readouterr().out)["runs"]
    assert not found["finished"] and found["return_mean"] is None


DAMAGE = {
    "evaluations.json": ['[{"step": 4}]', "[1, 2]", '[{"step"'],
    "summary.json": ['{"step": "many"}', '{"step": null}', '{"step": 10'],
    "metrics.jsonl": ["nonsense\n", "[1]\n"],
}


@pytest.mark.parametrize(("file", "text"), [(file, text) for file in DAMAGE for text in DAMAGE[file]])
def test_a_damaged_run_is_listed_as_such_and_the_rest_as_usual(file, text, tmp_path, finished_runs, capsys):
    shutil.copytree(finished_runs, tmp_path / "runs")
    (tmp_path / "runs" / "one" / file).write_text(text)
    assert run(["runs", str(tmp_path / "runs"), "--json"]) == 0
    found = {entry["path"].rpartition("/")[2]: entry for entry in json.loads(capsys.readouterr().out)["runs"]}
    assert found["one"]["damaged"] == file and found["two"]["damaged"] is None
    assert found["two"]["finished"] and found["two"]["return_mean"] is not None
    assert run(["runs", str(tmp_path / "runs")]) == 0
    assert capsys.readouterr().out.count(f"damaged: {file}") == 1
    assert run(["matrix", str(tmp_path / "runs")]) == 0
    text, note = capsys.readouterr()
    assert text.count("--encoder") + text.count("palaestra train ppo") >= 1 and "(1)" in text
    assert file == "summary.json" or f"{file} is damaged" in note


@pytest.fixture(scope="module")
def finished_runs(tmp_path_factory):
    """Two short runs that differ in their seeds."""
    folder = tmp_path_factory.mktemp("finished")
    for seed, name in enumerate(("one", "two")):
        words = ["ppo", "--env", "palaestra/Corridor-v0", "--seed", str(seed), *TINY]
        assert train(*words, "--out", str(folder / name)) == 0
    return folder


def test_options_out_of_range_are_named_in_one_way(capsys):
    for words, message in (
        (["evaluate", "run", "--episodes", "0"], "--episodes: must be at least 1, got 0"),
        (["evaluate", "run", "--video-copies", "0"], "--video-copies: must be at least 1, got 0"),
        (["compare", "quick", "--workers", "-1"], "--workers: must be at least 0, got -1"),
        (["sweep", "x.yaml", "--workers", "-1"], "--workers: must be at least 0, got -1"),
        (["bench", "--repeats", "0"], "--repeats: must be at least 1, got 0"),
        (["bench", "envs", "--seconds", "0"], "--seconds: must be above 0, got 0"),
        (["world-model", "evaluate", "m", "--episodes", "0"], "--episodes: must be at least 1, got 0"),
        (["world-model", "evaluate", "m", "--noise", "-1"], "--noise: must be at least 0, got -1.0"),
    ):
        assert run(words) == 2
        assert capsys.readouterr().err == f"error: {message}\n"


def test_doctor(capsys):
    assert run(["doctor", "--json"]) == 0
    assert "torch" in json.loads(capsys.readouterr().out)


def test_environments_are_listed_and_checked(capsys):
    assert run(["envs", "list", "CartPole-v1", "--json"]) == 0
    assert "CartPole-v1" in [entry["id"] for entry in json.loads(capsys.readouterr().out)["environments"]]
    assert run(["envs", "check", "CartPole-v1", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["ok"] and report.keys() >= {"id", "errors", "warnings", "steps_per_second"}


def test_an_agent_and_an_environment_from_outside(tmp_path):
    (tmp_path / "mine.py").write_text(
        textwrap.dedent(
            """
            import gymnasium
            from palaestra.agents.ppo import PPO, PPOConfig

            class Corridor(gymnasium.Env):
                observation_space = gymnasium.spaces.Box(0, 1, (1,))
                action_space = gymnasium.spaces.Discrete(2)

                def reset(self, *, seed=None, options=None):
                    super().reset(seed=seed)
                    self.place = 0
                    return self.observation_space.low, {}

                def step(self, action):
                    self.place += int(action)
                    return self.observation_space.low + self.place / 5, -1.0, self.place >= 5, False, {}

            gymnasium.register("Corridor-v0", entry_point=Corridor, max_episode_steps=50)

            class MyPPO(PPO):
                Config = PPOConfig
            """
        )
    )
    words = ["train", "mine:MyPPO", "--env", "mine:Corridor-v0", *TINY, "--out", "run"]
    command = [sys.executable, "-m", "palaestra.training.cli.main", *words]
    finished = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stderr
    assert "mine:MyPPO on mine:Corridor-v0" in finished.stdout


def test_an_agent_with_nothing_but_what_the_readme_asks_for(tmp_path, monkeypatch, capsys):
    (tmp_path / "at_random.py").write_text(
        textwrap.dedent(
            """
            from dataclasses import dataclass

            import numpy as np
            from palaestra.agents.agent import Agent

            @dataclass(frozen=True)
            class AtRandomConfig:
                low: int = 0

            class AtRandom(Agent):
                Config = AtRandomConfig

                def __init__(self, config, action_space, make_torso, *, seed, total_steps, device, compile):
                    self.low, self.high = config.low, int(action_space.n)
                    self.generator = np.random.default_rng(seed)

                def initial_state(self, num_envs):
                    return np.zeros((num_envs, 0), np.float32)

                def act(self, obs, state, first, explore=True):
                    return self.generator.integers(self.low, self.high, len(first)), state

                def learn(self, transition):
                    return {}

                def parts(self):
                    return {"generator": self.generator}
            """
        )
    )
    monkeypatch.syspath_prepend(tmp_path)
    words = ["at_random:AtRandom", "--env", "CartPole-v1", "--agent.low", "1", *TINY]
    assert train(*words, "--out", str(tmp_path / "run")) == 0
    assert run(["evaluate", str(tmp_path / "run"), "--episodes", "2", "--json", "--trust"]) == 0


def test_help_is_quick():
    """No torch for a list of commands."""
    code = (
        "import sys; from palaestra.training.cli.main import run; "
        "run(['--help']); run(['train', '--help']); run(['world-model', '--help']); "
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.DEVNULL)


def test_envs_check_includes_the_checker_of_stable_baselines3(tmp_path, monkeypatch, capsys):
    pytest.importorskip("stable_baselines3")
    (tmp_path / "shifted_of_mine.py").write_text(
        "from gymnasium import spaces\n"
        "from palaestra.envs.tasks.corridor import Corridor\n"
        "class Shifted(Corridor):\n"
        "    def __init__(self):\n"
        "        super().__init__()\n"
        "        self.action_space = spaces.Discrete(2, start=1)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    assert (
        run(["envs", "check", "shifted_of_mine:Shifted", "--env-kwargs", "max_episode_steps=50", "--json"])
        == 0
    )
    report = json.loads(capsys.readouterr().out)
    assert any("Stable-Baselines3's checker" in line for line in report["warnings"])
    assert report["action_space"] == "Discrete(2, start=1)"


def test_envs_list_shows_presets_and_spaces(capsys):
    assert run(["envs", "list", "CartPole-v1", "--spaces", "--json"]) == 0
    entries = {entry["id"]: entry for entry in json.loads(capsys.readouterr().out)["environments"]}
    assert "ppo" in entries["CartPole-v1"]["presets"]
    assert entries["CartPole-v1"]["action_space"] == "Discrete(2)"
    assert run(["envs", "list", "Lunar"]) == 0
    text = capsys.readouterr().out
    assert text.startswith("box2d (2)\n  LunarLander-v3") and "presets: " in text
