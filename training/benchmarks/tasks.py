"""What `palaestra bench` measures: tasks with the same hyper-parameters for us and for another library."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any


@dataclass(frozen=True)
class Benchmark:
    """One task, the same hyper-parameters for both sides."""

    env: str
    num_envs: int
    steps: int
    agent: str
    ours: dict[str, Any]
    """Blocks of a run's config: agent, encoder, memory."""
    algorithm: str
    """The peer's algorithm."""
    theirs: dict[str, Any]
    """Its keyword arguments."""
    seconds: int
    """A run of each side takes together, starts and compiling included, on two cores with nothing else to do."""
    peer: str = "stable-baselines3"
    threads: int = 1
    """Threads of torch, on both sides."""
    seeds: int = 1
    """Runs of ours that are trained together; steps are those of all of them. They are also compared with one alone."""
    unit: str = "environment steps per second of training, after warm-up"


@dataclass(frozen=True)
class ReplayBenchmark:
    """Replay memories full of Atari frames (84 x 84 bytes), and how fast batches are drawn from them."""

    frames: int
    num_envs: int
    batch_size: int
    seconds: int
    algorithm: str = "ReplayBuffer"
    peer: str = "stable-baselines3"
    unit: str = "transitions drawn per second"


def recurrent(steps: int, hidden: int, rollout_length: int, epochs: int, seconds: int) -> Benchmark:
    """PPO with an LSTM that sees CartPole as it is, with nothing but linear maps around it."""
    same = {"learning_rate": 1e-3, "gamma": 0.98, "gae_lambda": 0.8, "batch_size": 256}
    return Benchmark(
        env="CartPole-v1",
        num_envs=8,
        steps=steps,
        agent="ppo",
        ours={
            "agent": {
                **same,
                **{"rollout_length": rollout_length, "sequence_length": rollout_length, "epochs": epochs},
            },
            "encoder": {"name": "mlp", "hidden": []},
            "memory": {"name": "lstm", "hidden": hidden, "readout": []},
        },
        algorithm="recurrent_ppo",
        theirs={
            **same,
            **{"n_steps": rollout_length, "n_epochs": epochs},
            "policy_kwargs": {"lstm_hidden_size": hidden, "net_arch": []},
        },
        seconds=seconds,
    )


PPO_CARTPOLE = Benchmark(
    env="CartPole-v1",
    num_envs=8,
    steps=81_920,
    agent="ppo",
    ours={
        "agent": {
            "rollout_length": 128,
            "batch_size": 256,
            "epochs": 4,
            "learning_rate": 1e-3,
            "gamma": 0.98,
        },
        "encoder": {"name": "mlp", "hidden": [64, 64], "activation": "tanh"},
    },
    algorithm="ppo",
    theirs={"n_steps": 128, "batch_size": 256, "n_epochs": 4, "learning_rate": 1e-3, "gamma": 0.98},
    seconds=32,
)
# Speeds are those after the first fifth of a run, which holds compiling and the steps before learning starts; so runs
# are as short as a speed can be read off.
BENCHMARKS: dict[str, Benchmark | ReplayBenchmark] = {
    "ppo-cartpole": PPO_CARTPOLE,
    # CleanRL's network and clock.
    "dqn-cartpole": Benchmark(
        env="CartPole-v1",
        num_envs=1,
        steps=15_000,
        agent="dqn",
        ours={
            "agent": {
                **{"learning_rate": 1e-3, "batch_size": 128, "replay_capacity": 10_000, "double": False},
                **{"learning_starts": 2000, "train_every": 10, "target_every": 500},
                **{"epsilon": "linear(1, 0.05, 0.5)", "hidden": [120, 84]},
            },
            "encoder": {"name": "mlp", "hidden": []},
        },
        algorithm="dqn",
        theirs={
            **{"learning_rate": 1e-3, "batch_size": 128, "buffer_size": 10_000, "learning_starts": 2000},
            **{"train_freq": 10, "target_update_interval": 500, "policy_kwargs": {"net_arch": [120, 84]}},
            **{"exploration_initial_eps": 1.0, "exploration_final_eps": 0.05, "exploration_fraction": 0.5},
        },
        seconds=34,
    ),
    # rl-zoo's preset.
    "dqn-cartpole-zoo": Benchmark(
        env="CartPole-v1",
        num_envs=1,
        steps=7_680,
        agent="dqn",
        ours={
            "agent": {
                **{"learning_rate": 2.3e-3, "batch_size": 64, "replay_capacity": 100_000, "double": False},
                **{"learning_starts": 1000, "train_every": 256, "gradient_steps": 128, "target_every": 10},
                **{"epsilon": "linear(1, 0.04, 0.16)", "hidden": [256, 256]},
            },
            "encoder": {"name": "mlp", "hidden": []},
        },
        algorithm="dqn",
        theirs={
            **{"learning_rate": 2.3e-3, "batch_size": 64, "buffer_size": 100_000, "learning_starts": 1000},
            **{"train_freq": 256, "gradient_steps": 128, "target_update_interval": 10},
            **{"exploration_initial_eps": 1.0, "exploration_final_eps": 0.04, "exploration_fraction": 0.16},
            "policy_kwargs": {"net_arch": [256, 256]},
        },
        seconds=36,
    ),
    "ddpg-pendulum": Benchmark(
        env="Pendulum-v1",
        num_envs=1,
        steps=1600,
        agent="ddpg",
        ours={
            "agent": {
                **{"learning_rate": 1e-3, "gamma": 0.98, "replay_capacity": 200_000, "learning_starts": 300},
                **{"noise_std": 0.1, "actor_hidden": [256, 256], "critic_hidden": [256, 256]},
            },
        },
        algorithm="ddpg",
        theirs={
            **{"learning_rate": 1e-3, "gamma": 0.98, "buffer_size": 200_000, "learning_starts": 300},
            **{"train_freq": 1, "noise_std": 0.1, "policy_kwargs": {"net_arch": [256, 256]}},
        },
        seconds=37,
        threads=2,
    ),
    # Policy and value have an LSTM each, and gradients reach through the whole rollout, on both sides.
    "ppo-lstm-cartpole": recurrent(10_240, hidden=64, rollout_length=128, epochs=4, seconds=26),
    "ppo-lstm-cartpole-zoo": recurrent(5_120, hidden=64, rollout_length=32, epochs=20, seconds=26),
    "ppo-lstm-cartpole-256": recurrent(5_120, hidden=256, rollout_length=128, epochs=4, seconds=26),
    "replay-atari": ReplayBenchmark(frames=200_000, num_envs=8, batch_size=32, seconds=22),
    # Written in JAX: the environments are compiled, too, and the first call compiles for 10 s or so, not counted.
    "ppo-cartpole-rejax": replace(PPO_CARTPOLE, peer="rejax", seconds=32),
    # Written in Rust around torch.
    "ppo-cartpole-rlox": replace(PPO_CARTPOLE, peer="rlox", steps=40_960, seconds=27),
}


def together(name: str, steps: int) -> Benchmark:
    """Eight seeds of a benchmark in one process, so many steps each, beside one seed of the peer."""
    single = BENCHMARKS[name]
    assert isinstance(single, Benchmark)
    return replace(single, steps=steps, seconds=60, seeds=8, threads=1)


PENDULUM = {"learning_rate": 1e-3, "gamma": 0.95, "batch_size": 64, "gae_lambda": 0.95}
TD3 = {"learning_rate": 1e-3, "gamma": 0.98, "learning_starts": 400, "batch_size": 256}
# Not among those that are run when none is named.
BENCHMARKS |= {
    "ppo-cartpole-seeds": together("ppo-cartpole", 60_000),
    "dqn-cartpole-seeds": together("dqn-cartpole", 30_000),
    "ppo-pendulum-seeds": Benchmark(
        env="Pendulum-v1",
        num_envs=4,
        steps=20_000,
        agent="ppo",
        ours={"agent": {**PENDULUM, "rollout_length": 1024, "epochs": 10}},
        algorithm="ppo",
        theirs={**PENDULUM, "n_steps": 1024, "n_epochs": 10},
        seconds=60,
        seeds=8,
    ),
    "td3-pendulum-seeds": Benchmark(
        env="Pendulum-v1",
        num_envs=1,
        steps=2500,
        agent="ddpg",
        ours={
            "agent": {
                **{**TD3, "replay_capacity": 200_000, "noise_std": 0.1},
                **{"twin_critics": True, "policy_delay": 2, "target_smoothing": 0.2},
                **{"actor_hidden": [256, 256], "critic_hidden": [256, 256]},
            },
        },
        algorithm="td3",
        theirs={
            **{**TD3, "buffer_size": 200_000, "train_freq": 1, "noise_std": 0.1},
            "policy_kwargs": {"net_arch": [256, 256]},
        },
        seconds=60,
        seeds=8,
    ),
    "reinforce-cartpole-seeds": Benchmark(
        env="CartPole-v1",
        num_envs=8,
        steps=50_000,
        agent="reinforce",
        ours={"agent": {"learning_rate": 3e-3, "steps_per_update": 1000}},
        # Stable-Baselines3 has no REINFORCE; A2C is the nearest that it has.
        algorithm="a2c",
        theirs={},
        seconds=60,
        seeds=8,
    ),
}
