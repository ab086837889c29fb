import copy
import itertools
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from gymnasium import spaces
from torch import nn

from palaestra.agents.agent import Transition
from palaestra.agents.reinforce import REINFORCE, REINFORCEBatch, REINFORCEConfig, standardized
from palaestra.envs.make import EnvSpec, make_envs
from palaestra.networks.encoders.mlp import MLP, MLPConfig
from palaestra.networks.memories.none import NoMemory
from palaestra.networks.torso import Memory, build_torso
from palaestra.training.run.collect import Collector

from .streams import goes_on_exactly

BOX = spaces.Box(-1, 1, (3,), np.float32)
TWO = spaces.Discrete(2)
SMALL = MLPConfig(hidden=(16,))
# Every environment has episodes of its own lengths; every other one is truncated.
LENGTHS = [[3, 1, 7], [20], [2, 5], [33, 4]]


def make_agent(
    action_space=TWO,
    obs_space=BOX,
    seed=0,
    encoder=SMALL,
    memory=NoMemory,
    compile=False,
    **options,
) -> REINFORCE:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return REINFORCE(
            REINFORCEConfig(**options),
            action_space,
            lambda: build_torso(obs_space, MLP, memory, encoder),
            seed=seed,
            total_steps=10_000,
            device=torch.device("cpu"),
            compile=compile,
        )


@dataclass
class Episode:
    """What an episode looked like, kept by the test itself."""

    obs: list
    action: list
    reward: list
    end: str
    successor: np.ndarray

    def returns(self, gamma: float, successor_value: float) -> list[float]:
        """Rewards-to-go, one sum for each step."""
        rewards = [*self.reward, successor_value if self.end == "truncated" else 0.0]
        return [
            sum(gamma ** (k - t) * rewards[k] for k in range(t, len(rewards)))
            for t in range(len(self.reward))
        ]


def play(agent, lengths=LENGTHS, seed=0, finished=None):
    """An endless stream of transitions with random observations and rewards, acted by the agent.

    Finished episodes are appended to the list `finished`.
    """
    generator = np.random.default_rng(seed)
    num_envs = len(lengths)
    cycles = [itertools.cycle(each) for each in lengths]
    left = np.array([next(cycle) for cycle in cycles])
    count = np.zeros(num_envs, int)
    obs = generator.standard_normal((num_envs, 3)).astype(np.float32)
    first, state = np.ones(num_envs, bool), agent.initial_state(num_envs)
    open_episodes = [Episode([], [], [], "", None) for _ in lengths]
    while True:
        action, next_state = agent.act(obs, state, first)
        next_obs = generator.standard_normal((num_envs, 3)).astype(np.float32)
        reward = generator.standard_normal(num_envs)
        left -= 1
        done = left == 0
        truncated = done & (count % 2 == 1)
        for i, episode in enumerate(open_episodes):
            episode.obs.append(obs[i])
            episode.action.append(action[i])
            episode.reward.append(float(np.float32(reward[i])))
            if done[i]:
                episode.end = "truncated" if truncated[i] else "terminated"
                episode.successor = next_obs[i]
                if finished is not None:
                    finished.append(episode)
                open_episodes[i] = Episode([], [], [], "", None)
                left[i] = next(cycles[i])
        count += done
        yield Transition(obs, action, reward, done & ~truncated, truncated, next_obs, first, state)
        fresh = generator.standard_normal((num_envs, 3)).astype(np.float32)
        obs, first, state = np.where(done[:, None], fresh, next_obs), done, next_state


def until_update(agent, stream):
    """Feed the agent until it has learned; returns its metrics."""
    return next(metrics for transition in stream if (metrics := agent.learn(transition)))


# -- What is learned ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options", [{"steps_per_update": 60}, {"steps_per_update": 1, "episodes_per_update": 7}]
)
def test_every_step_of_every_episode_is_learned_once_with_its_return(options):
    """Tails are carried: whatever was under way at one update is learned whole at a later one."""
    finished, learned = [], []
    agent = make_agent(gamma=0.9, baseline="none", normalize_advantage=False, **options)
    step = agent.optimizer.step
    agent.optimizer.step = lambda loss, batch, rate: learned.append(batch) or step(loss, batch, rate)
    updates = 0
    for transition in itertools.islice(play(agent, finished=finished), 500):
        before = len(finished)
        updates += bool(agent.learn(transition))
    assert before == len(finished) or updates == len(learned)
    assert len(learned) == updates > 10
    given = {}
    for (obs, _, action, advantage, _, valid), _ in learned:
        assert valid.all()
        for key, act, value in zip(obs[0].numpy(), action[0].tolist(), advantage[0].tolist(), strict=True):
            assert key.tobytes() not in given  # observations are random: each is a step of its own
            given[key.tobytes()] = (act, value)
    waiting = agent.episodes.count  # finished since the last update
    expected = finished[: len(finished) - waiting]
    assert len(given) == sum(len(episode.obs) for episode in expected)
    assert max(len(episode.obs) for episode in expected) == 33
    for episode in expected:
        for obs, action, value in zip(episode.obs, episode.action, episode.returns(0.9, 0.0), strict=True):
            assert given[obs.tobytes()] == (action, pytest.approx(value, abs=1e-5))


def test_episodes_that_straddle_an_update_are_learned_by_the_next():
    agent = make_agent(steps_per_update=20)
    stream = play(agent, lengths=[[5], [100]])
    for transition in itertools.islice(stream, 99):
        agent.learn(transition)
    # Environment 0 filled four updates by itself and the last episodes wait; environment 1 is not done.
    assert int(agent.optimizer.count) == 4 and agent.episodes.steps == 15
    assert (agent.episodes.size - agent.episodes.closed).tolist() == [4, 99]
    metrics = agent.learn(next(stream))
    assert metrics and int(agent.optimizer.count) == 5
    assert agent.episodes.size.tolist() == [0, 0]


# -- Advantages and losses by hand -------------------------------------------------------------------------------


def one_episode(agent, truncated):
    """Rewards 1, 2, 4 and then the end."""
    for t in range(3):
        last = np.array([t == 2])
        metrics = agent.learn(
            Transition(
                obs=np.full((1, 3), t / 10, np.float32),
                action=np.array([t % 2]),
                reward=np.array([2.0**t]),
                terminated=last & (not truncated),
                truncated=last & truncated,
                next_obs=np.full((1, 3), 9.0, np.float32),
                first=np.array([t == 0]),
                state=np.zeros((1, 0), np.float32),
            )
        )
    return metrics


@pytest.mark.parametrize(
    ("truncated", "baseline", "advantage"),
    [
        (False, "none", [1 + 0.5 * 4, 2 + 0.5 * 4, 4]),
        (True, "none", [1 + 0.5 * 4, 2 + 0.5 * 4, 4]),
        (False, "value", [3 - 6, 4 - 6, 4 - 6]),
        (True, "value", [1 + 0.5 * 5.5 - 6, 2 + 0.5 * 7 - 6, 4 + 0.5 * 6 - 6]),
    ],
)
def test_loss_by_hand(truncated, baseline, advantage):
    """A uniform policy, a baseline of 6 everywhere and gamma 0.5."""
    agent = make_agent(
        steps_per_update=3,
        gamma=0.5,
        baseline=baseline,
        normalize_advantage=False,
        entropy_coefficient="linear(0.1, 0.1)",
    )
    for parameter in (*agent.policy.parameters(), *agent.baseline.parameters()):
        parameter.data.zero_()
    agent.value_head.bias.data.fill_(6.0)
    seen = []
    step = agent.optimizer.step
    agent.optimizer.step = lambda loss, batch, rate: (
        seen.append((batch, loss(*batch)[0])) or step(loss, batch, rate)
    )
    metrics = one_episode(agent, truncated)
    ((_, _, action, learned, _, valid), _), loss = seen[0]
    assert action.tolist() == [[0, 1, 0]] and valid.all()
    assert learned.tolist() == [pytest.approx(advantage)]
    expected = np.log(2) * np.mean(advantage)
    assert metrics["loss/policy"].item() == pytest.approx(expected, rel=1e-5)
    assert metrics["policy/entropy"].item() == pytest.approx(np.log(2))
    assert loss.item() == pytest.approx(expected - 0.1 * np.log(2), rel=1e-5)
    assert ("loss/value" in metrics) == (baseline == "value")


def test_value_loss_by_hand():
    agent = make_agent()
    for parameter in agent.baseline.parameters():
        parameter.data.zero_()
    agent.value_head.bias.data.fill_(1.0)
    valid = torch.tensor([[True, True, False]])
    obs, returns = torch.zeros(1, 3, 3), torch.tensor([[3.0, 0.0, 99.0]])
    loss, metrics = agent.value_loss(REINFORCEBatch(obs, valid, None, None, returns, valid))
    assert loss.item() == metrics["loss/value"].item() == (4 + 1) / 2


def test_standardized_by_hand():
    valid = np.array([[True, True], [True, False]])
    advantage = np.array([[1.0, 2.0], [6.0, 1000.0]])
    out = standardized(advantage, advantage, valid)
    assert out.dtype == np.float32
    np.testing.assert_allclose(out[valid], np.array([-2, -1, 3]) / np.sqrt((4 + 1 + 9) / 2), rtol=1e-6)


def test_differences_that_are_noise_are_not_blown_up():
    """Returns of 100 that differ by 0.001 from the baseline: divided by 1, a hundredth of the returns."""
    valid, returns = np.ones((4, 1), bool), np.full((4, 1), 100.0)
    advantage = np.array([[1.0], [-1.0], [1.0], [-1.0]]) * 1e-3
    np.testing.assert_allclose(standardized(advantage, returns, valid), advantage, rtol=1e-6)
    lone = standardized(np.array([[3.0]]), np.array([[5.0]]), np.array([[True]]))
    assert lone.tolist() == [[0.0]]
    assert standardized(np.zeros((2, 1)), np.zeros((2, 1)), np.ones((2, 1), bool)).tolist() == [[0.0], [0.0]]


# -- The textbook ------------------------------------------------------------------------------------------------


def textbook_gradient(agent, episodes, gamma):
    """`-1/N sum over episodes and steps of grad log pi(a_t | s_t) (G_t - V(s_t))`, one step at a time."""
    policy, baseline = copy.deepcopy(agent.policy), copy.deepcopy(agent.baseline)
    total, steps = torch.zeros(()), 0

    def run(modules, observations):
        """Outputs of an episode, its torso unrolled from the empty state."""
        obs = torch.from_numpy(np.stack(observations))[:, None]
        first = torch.zeros(len(obs), 1, dtype=torch.bool)
        first[0] = True
        features, _ = modules["torso"](obs, modules["torso"].initial_state(1), first)
        return modules["head"](features)

    for episode in episodes:
        with torch.no_grad():
            value = run(baseline, [*episode.obs, episode.successor]).flatten().tolist()
        distribution = run(policy, episode.obs)
        action = torch.from_numpy(np.stack(episode.action))[:, None]
        log_prob = distribution.log_prob(action)[:, 0]
        for t, episode_return in enumerate(episode.returns(gamma, value[-1])):
            total = total - log_prob[t] * (episode_return - value[t])
            steps += 1
    (total / steps).backward()
    return torch.cat([parameter.grad.flatten() for parameter in policy.parameters()])


@dataclass(frozen=True)
class NoConfig:
    pass


class Leaky(Memory):
    """Each output is the input plus half of the output before."""

    Config = NoConfig

    def __init__(self, input_size, config):
        super().__init__()
        self.size = self.state_size = input_size
        self.mix = nn.Linear(input_size, input_size)

    def forward(self, x, state, first):
        outputs = []
        for t in range(len(x)):
            state = torch.tanh(self.mix(x[t]) + 0.5 * state * ~first[t].unsqueeze(-1))
            outputs.append(state)
        return torch.stack(outputs), state


@pytest.mark.parametrize("memory", [NoMemory, Leaky])
@pytest.mark.parametrize("action_space", [TWO, spaces.Box(np.float32([-1, 0]), np.float32([1, 5]))], ids=str)
def test_gradient_equals_the_textbook(memory, action_space):
    """In the first update and in the third, which learns episodes that began before the second."""
    agent = make_agent(
        action_space,
        memory=memory,
        gamma=0.9,
        steps_per_update=50,
        normalize_advantage=False,
        max_grad_norm=None,
    )
    agent.head.layer.weight.data.mul_(50)
    finished = []
    stream = play(agent, finished=finished)
    for _ in range(3):
        before = copy.deepcopy((agent.policy, agent.baseline))
        new = len(finished)
        until_update(agent, stream)
        now = (agent.policy, agent.baseline)
        agent.policy, agent.baseline = before
        expected = textbook_gradient(agent, finished[new:], 0.9)
        agent.policy, agent.baseline = now
        torch.testing.assert_close(agent.optimizer.gradient, expected, rtol=1e-4, atol=1e-6)
        assert agent.optimizer.gradient.norm() > 1e-2


def test_invalid_rows_change_nothing():
    """A backend that spends a step on resetting gives the same update as one that does not."""
    agents = [make_agent(steps_per_update=40), make_agent(steps_per_update=40)]
    plain = list(itertools.islice(play(agents[0], lengths=[[3, 8], [3, 8]]), 60))
    for transition in plain:
        agents[0].learn(transition)
        agents[1].learn(transition)
        if transition.done.any():
            garbage = transition._replace(
                obs=transition.obs * 100,
                reward=np.full(2, 1e6),
                first=np.zeros(2, bool),
                terminated=np.zeros(2, bool),
                truncated=np.zeros(2, bool),
                valid=np.zeros(2, bool),
            )
            assert agents[1].learn(garbage) == {}
    assert int(agents[0].optimizer.count) >= 2
    assert torch.equal(agents[0].optimizer.vector, agents[1].optimizer.vector)
    assert torch.equal(agents[0].value_optimizer.vector, agents[1].value_optimizer.vector)
    assert agents[0].steps.count == agents[1].steps.count


def test_reward_normalisation_divides_by_the_deviation_of_returns():
    agent = make_agent(
        steps_per_update=3, gamma=0.5, baseline="none", normalize_advantage=False, normalize_reward=True
    )
    seen = []
    step = agent.optimizer.step
    agent.optimizer.step = lambda loss, batch, rate: seen.append(batch) or step(loss, batch, rate)
    one_episode(agent, truncated=True)
    # Discounted returns so far: 1, 0.5 + 2, 1.25 + 4.
    deviation = np.std([1, 2.5, 5.25])
    assert seen[0][0].advantage.tolist() == [pytest.approx(np.array([3, 4, 4]) / deviation)]
    assert agent.reward_scaler.returns.tolist() == [0.0]


# -- Compiled shapes ---------------------------------------------------------------------------------------------


def test_filling_up_for_the_compiler_changes_nothing():
    options = {"steps_per_update": 50, "batch_size": 32, "entropy_coefficient": 0.01}
    plain, filled = make_agent(**options), make_agent(**options)
    filled.compile = True  # only the shapes: its optimisers stay eager
    lengths = []
    for agent in (plain, filled):
        step = agent.optimizer.step
        agent.optimizer.step = lambda loss, batch, rate, step=step: (
            lengths.append((batch[0].valid.shape[1], int(batch[0].valid.sum()))) or step(loss, batch, rate)
        )
    for transition in itertools.islice(play(plain), 30):
        plain.learn(transition)
        filled.learn(transition)
    (all_plain, steps), (all_filled, valid) = lengths[:2]
    assert all_plain == steps == valid < all_filled == -(-steps // 32) * 32
    torch.testing.assert_close(plain.optimizer.vector, filled.optimizer.vector, rtol=0, atol=1e-6)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_compiled_updates_equal_eager_ones():
    options = {"steps_per_update": 50, "batch_size": 256, "value_epochs": 2}
    eager, compiled = make_agent(**options), make_agent(compile=True, **options)
    for transition in itertools.islice(play(eager), 60):
        assert eager.learn(transition).keys() == compiled.learn(transition).keys()
    assert int(compiled.optimizer.count) == int(eager.optimizer.count) > 2
    for name in ("optimizer", "value_optimizer"):
        vectors = (getattr(agent, name).vector for agent in (compiled, eager))
        # Adam divides by small numbers: last bits grow.
        torch.testing.assert_close(*vectors, rtol=0, atol=1e-4)


# -- Going on, schedules, options --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "action_space",
    [
        spaces.Discrete(3, start=-1),
        spaces.MultiDiscrete([2, 3]),
        spaces.MultiBinary(4),
        spaces.Box(np.float32([-1, 0]), np.float32([1, 5])),
    ],
    ids=str,
)
@pytest.mark.parametrize("normalize", [False, True])
@pytest.mark.parametrize("at", [0, 23])
def test_learning_goes_on_exactly_from_its_parts(action_space, normalize, at):
    """The state at a step inside episodes, put into a fresh agent with other weights: bit-equal from there on."""
    options = {
        "steps_per_update": 40,
        "batch_size": 16,
        "normalize_reward": normalize,
        "encoder": MLPConfig(hidden=(16,), normalize=normalize),
    }
    agent, fresh = make_agent(action_space, **options), make_agent(action_space, seed=99, **options)
    goes_on_exactly(agent, fresh, play(agent), at, 60)
    assert int(fresh.optimizer.count) >= 4


def test_schedules_follow_the_steps_seen():
    agent = make_agent(steps_per_update=10, learning_rate="linear(0.1, 0)")
    agent.steps.total = 200
    rates = [
        metrics["policy/learning_rate"]
        for transition in itertools.islice(play(agent, lengths=[[5], [5]]), 40)
        if (metrics := agent.learn(transition))
    ]
    assert rates == pytest.approx([0.1 * (1 - k / 20) for k in range(1, 9)])


def test_the_policy_steps_once_and_the_baseline_as_often_as_told():
    agent = make_agent(steps_per_update=100, batch_size=30, value_epochs=3)
    until_update(agent, play(agent, lengths=[[50], [50]]))
    assert int(agent.optimizer.count) == 1
    assert int(agent.value_optimizer.count) == 3 * 4
    assert agent.config.planned_updates(total_steps=1000, num_envs=2) == 10 * (1 + 12)
    assert REINFORCEConfig(baseline="none").planned_updates(10_000, 8) == 10


def test_without_a_baseline_nothing_is_fitted():
    agent = make_agent(steps_per_update=50, baseline="none")
    before = agent.value_optimizer.vector.clone()
    metrics = until_update(agent, play(agent))
    assert "loss/value" not in metrics and torch.equal(agent.value_optimizer.vector, before)


def test_observation_statistics_see_every_learned_step_once():
    agent = make_agent(steps_per_update=60, encoder=MLPConfig(hidden=(4,), normalize=True))
    finished = []
    stream = play(agent, finished=finished)
    for _ in range(3):
        until_update(agent, stream)
    seen = np.concatenate([np.stack(episode.obs) for episode in finished])
    for torso in (agent.torso, agent.value_torso):
        normalizer = torso.encoder.normalize
        assert normalizer.count.item() == len(seen)
        np.testing.assert_allclose(normalizer.mean, seen.mean(0), atol=1e-6)


def test_actions_without_exploration_draw_nothing():
    agent = make_agent(spaces.Discrete(4))
    obs, state, first = np.ones((2, 3), np.float32), agent.initial_state(2), np.ones(2, bool)
    before = agent.act_generator.bit_generator.state
    actions = {tuple(agent.act(obs, state, first, explore=False)[0]) for _ in range(10)}
    assert len(actions) == 1 and agent.act_generator.bit_generator.state == before
    assert len({tuple(agent.act(obs, state, first)[0]) for _ in range(50)}) > 4


def test_bad_options_are_refused():
    with pytest.raises(ValueError, match="cannot read schedule"):
        REINFORCEConfig(learning_rate="linear(1")
    with pytest.raises(ValueError, match="value_learning_rate: must stay >= 0"):
        REINFORCEConfig(value_learning_rate=-1.0)
    with pytest.raises(TypeError, match="no policy for"):
        make_agent(spaces.Dict({"a": spaces.Text(3)}))


# -- Probes ------------------------------------------------------------------------------------------------------


def train(env_id, steps, **options):
    """An agent trained in eight copies of an environment."""
    envs = make_envs(EnvSpec(env_id, num_envs=8, seed=1))
    agent = make_agent(
        envs.action_space,
        envs.observation_space,
        steps_per_update=64,
        learning_rate=0.01,
        value_learning_rate=0.01,
        **options,
    )
    collector = Collector(agent, envs)
    while agent.steps.count < steps:
        agent.learn(collector.step()[0])
    envs.close()
    return agent


def values(agent, *observations):
    with torch.no_grad():
        obs = torch.tensor(observations)[None, :, None]
        return agent._value(obs, torch.ones(1, len(observations), dtype=torch.bool))[0].tolist()


def test_probe_constant():
    assert values(train("palaestra/ProbeConstant-v0", 1500), 0.0) == pytest.approx([1], abs=0.05)


def test_probe_observation():
    agent = train("palaestra/ProbeObservation-v0", 2000)
    assert values(agent, -1.0, 1.0) == pytest.approx([-1, 1], abs=0.1)


def test_probe_delayed():
    agent = train("palaestra/ProbeDelayed-v0", 3000, gamma=0.5)
    assert values(agent, 0.0, 1.0) == pytest.approx([0.5, 1], abs=0.1)


@pytest.mark.parametrize(
    ("name", "wanted", "steps", "options"),
    [
        ("ProbeAction", {0.0: 1}, 1500, {}),
        ("ProbeAction", {0.0: 1}, 1500, {"baseline": "none"}),
        ("ProbeActionObservation", {-1.0: 0, 1.0: 1}, 2000, {}),
        ("ProbeActionObservation", {-1.0: 0, 1.0: 1}, 2000, {"baseline": "none"}),
        ("ProbeActionContinuous", {0.0: 0.5}, 4000, {}),
        ("ProbeActionObservationContinuous", {-1.0: -0.5, 1.0: 0.5}, 4000, {}),
    ],
)
def test_probe_action(name, wanted, steps, options):
    agent = train(f"palaestra/{name}-v0", steps, log_std=-0.5, **options)
    obs = np.array(list(wanted), np.float32)[:, None]
    action, _ = agent.act(obs, agent.initial_state(len(obs)), np.ones(len(obs), bool), explore=False)
    assert action.flatten().tolist() == pytest.approx(list(wanted.values()), abs=0.2)
