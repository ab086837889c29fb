#!/usr/bin/env bash
# tianshou 2.0.1 with torch 2.13.0, gymnasium 1.4.0, numpy 2.4.6, Python 3.11
# Date: 2026-11-30
#
# A user would expect: an algorithm's state_dict, which holds its networks and its
# optimizers and is what a training is continued from, continues the schedule of the
# step size too.
#
# Behaviour: the state has no schedule. The step size that was reached is restored with
# the optimizer, so it looks right after loading; the first update sets it back to the
# schedule's beginning. A training that was stopped at half its length goes on with
# nearly twice the step size and never comes to the small ones.
#
# Seen (step size in units of 0.0001 after each of ten epochs, linear from 10 to 0):
#   without a stop:             [9, 8, 7, 6, 5, 4, 3, 2, 1, 0]
#   after loading, stopped at 5: 5, then [9, 8, 7, 6, 5]
#   names in the state that speak of a schedule: []
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet tianshou==2.0.1 torch==2.13.0 gymnasium==1.4.0 numpy==2.4.6
cd "$folder"
"$folder/venv/bin/python" -W ignore - <<'PYTHON'
import gymnasium as gym
import torch
from tianshou.algorithm import Reinforce
from tianshou.algorithm.modelfree.reinforce import ProbabilisticActorPolicy
from tianshou.algorithm.optim import AdamOptimizerFactory, LRSchedulerFactoryLinear
from tianshou.data import Collector, VectorReplayBuffer
from tianshou.env import DummyVectorEnv
from tianshou.trainer import OnPolicyTrainerParams
from tianshou.utils.net.common import Net
from tianshou.utils.net.discrete import DiscreteActor
from torch.distributions import Categorical

STEPS = 50


def algorithm():
    actor = DiscreteActor(
        preprocess_net=Net(state_shape=(4,), hidden_sizes=[8]), action_shape=2, softmax_output=True)
    policy = ProbabilisticActorPolicy(
        actor=actor, dist_fn=Categorical, action_space=gym.spaces.Discrete(2),
        action_scaling=False, action_bound_method=None)
    schedule = LRSchedulerFactoryLinear(
        max_epochs=10, epoch_num_steps=STEPS, collection_step_num_env_steps=STEPS)
    return Reinforce(policy=policy, optim=AdamOptimizerFactory(lr=1e-3).with_lr_scheduler_factory(schedule))


def step_size(trained):
    (optimizer,) = trained.state_dict()["_optimizers"]
    return round(float(optimizer["param_groups"][0]["lr"]) * 10_000)


def epoch(trained):
    envs = DummyVectorEnv([lambda: gym.make("CartPole-v1")])
    collector = Collector(trained, envs, VectorReplayBuffer(1000, 1))
    collector.reset()
    trained.run_training(OnPolicyTrainerParams(
        training_collector=collector, max_epochs=1, epoch_num_steps=STEPS,
        collection_step_num_env_steps=STEPS, show_progress=False, verbose=False))
    return step_size(trained)


trained = algorithm()
whole = [epoch(trained) for _ in range(5)]
torch.save(trained.state_dict(), "checkpoint.pt")
whole += [epoch(trained) for _ in range(5)]
print("without a stop:            ", whole)
state = torch.load("checkpoint.pt", weights_only=False)
names = [name for name in state if "schedul" in name]
resumed = algorithm()
resumed.load_state_dict(state)
loaded = step_size(resumed)
rest = [epoch(resumed) for _ in range(5)]
print(f"after loading, stopped at 5: {loaded}, then", rest)
print("names in the state that speak of a schedule:", names)

assert whole == [9, 8, 7, 6, 5, 4, 3, 2, 1, 0]
assert loaded == 5 and rest == [9, 8, 7, 6, 5]
assert names == []
PYTHON
