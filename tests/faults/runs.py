"""Kinds of runs that are promised to go on exactly, small enough to be killed many times, and how they are compared."""

import json
import zipfile

from palaestra.training.run.storage.checkpoint import STATE, TENSORS, latest_checkpoint
from palaestra.training.tracking.metrics_file import read_metrics

CLOCKS = "--checkpoint-every 500 --log-every 100 --evaluate-every 900 --evaluate-episodes 1 --track none"
SMALL = "--encoder.hidden 8"
RECALL = "--env palaestra/Recall-v0 --env-kwargs delay=3"
REPLAY = "--agent.learning-starts 200 --agent.replay-capacity 600 --agent.train-every 16"
MEMORIES = {
    "lstm": "--memory lstm --memory.hidden 8",
    "gru": "--memory gru --memory.hidden 8",
    "transformer": "--memory transformer --memory.size 8 --memory.heads 2 --memory.window 8 --memory.hidden 8",
}
# Words behind `palaestra`, by kind; DIR is the folder of the run.
KINDS = {
    "ppo, sync": f"train ppo --env Acrobot-v1 --steps 4k --num-envs 3 --agent.rollout-length 40 {SMALL}",
    "ppo, async": "train ppo --env Acrobot-v1 --steps 4k --num-envs 3 --backend async --env.workers 2 "
    f"--agent.rollout-length 40 {SMALL}",
    "ppo, vector": f"train ppo --env CartPole-v1 --steps 8k --backend vector --agent.rollout-length 40 {SMALL}",
    "ppo, frames and previous action": "train ppo --env CartPole-v1 --steps 4k --num-envs 2 --frame-stack 3 "
    f"--show-previous --agent.rollout-length 40 {SMALL}",
    "reinforce": f"train reinforce --env CartPole-v1 --steps 8k --num-envs 3 {SMALL}",
    "dqn": f"train dqn --env CartPole-v1 --steps 4k --num-envs 2 {REPLAY} --agent.hidden 16",
    "dqn, rainbow": f"train dqn --config rainbow --env CartPole-v1 --steps 3k --num-envs 2 {REPLAY}",
    "dqn, async": f"train dqn --env CartPole-v1 --steps 3k --num-envs 2 --backend async {REPLAY} --agent.hidden 16",
    "pqn": f"train pqn --env CartPole-v1 --steps 8k --agent.hidden 16 {SMALL}",
    "ddpg": f"train ddpg --env Pendulum-v1 --steps 3k --num-envs 2 {REPLAY}",
    "td3": f"train ddpg --config td3 --env Pendulum-v1 --steps 3k --num-envs 2 {REPLAY}",
    **{
        f"{agent}, {memory}": f"train {agent} {RECALL} --steps 3k --num-envs 2 {options} {more} {SMALL}"
        for memory, options in MEMORIES.items()
        for agent, more in {
            "ppo": "--agent.rollout-length 40",
            "reinforce": "--agent.steps-per-update 200",
            "dqn": REPLAY,
        }.items()
    },
    "ddpg, lstm": f"train ddpg {RECALL} continuous=true --steps 2k --num-envs 2 {MEMORIES['lstm']} {REPLAY}",
    "sb3 ppo": "train sb3/ppo --env Acrobot-v1 --steps 4k --num-envs 3 --agent.n-steps 40 --agent.batch-size 40 "
    "--agent.normalize-obs --agent.normalize-reward",
    "sb3 td3": "train sb3/td3 --env Pendulum-v1 --steps 2k --num-envs 2 --agent.learning-starts 200 "
    "--agent.buffer-size 600 --agent.train-freq 16 --agent.net-arch 16 --agent.noise ornstein-uhlenbeck",
}


def everything(run_dir):
    """All that a run leaves, but for the clock on the wall."""
    rows = [
        {name: value for name, value in row.items() if not name.startswith("time/")}
        for row in read_metrics(run_dir)
    ]
    if (
        run_dir / "model.zip"
    ).is_file():  # of Stable-Baselines3, which keeps no checkpoint when it has finished
        with zipfile.ZipFile(run_dir / "model.zip") as archive:
            networks = {name: archive.read(name) for name in archive.namelist() if name.endswith(".pth")}
        return networks, (run_dir / "evaluations.json").read_text(), json.dumps(rows)
    state = json.loads((latest_checkpoint(run_dir) / STATE).read_text())
    for name in ("seconds", "cpu"):
        state.get("clock", {}).pop(name, None)
    return (latest_checkpoint(run_dir) / TENSORS).read_bytes(), state, json.dumps(rows)
