import itertools

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium import spaces

from palaestra.agents.agent import Transition
from palaestra.agents.ppo import PPO, PPOBatch, PPOConfig, explained_variance
from palaestra.agents.storage.sequences import Sequence
from palaestra.networks.encoders.mlp import MLP, MLPConfig
from palaestra.networks.torso import build_torso

from .memories import MEMORIES
from .streams import goes_on_exactly, random_transitions

BOX = spaces.Box(-1, 1, (3,), np.float32)


def make_agent(
    action_space, obs_space=BOX, seed=0, encoder=None, memory="none", compile=False, **options
) -> PPO:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return PPO(
            PPOConfig(**options),
            action_space,
            lambda: build_torso(obs_space, MLP, MEMORIES[memory][0], encoder, MEMORIES[memory][1]),
            seed=seed,
            total_steps=10_000,
            device=torch.device("cpu"),
            compile=compile,
        )


# -- Stable-Baselines3 as an oracle ------------------------------------------------------------------------------


def copy_from_sb3(policy, agent) -> None:
    """Load the weights of SB3's MlpPolicy into ours."""
    extractor = policy.mlp_extractor
    pairs = [
        (extractor.policy_net, agent.torso.encoder.layers),
        (extractor.value_net, agent.value_torso.encoder.layers),
        (policy.action_net, agent.head.layer),
        (policy.value_net, agent.networks["value_head"]),
    ]
    for theirs, ours in pairs:
        ours.load_state_dict(theirs.state_dict())
    if isinstance(agent.networks["head"].layer, torch.nn.Linear) and hasattr(policy, "log_std"):
        agent.head.log_std.data.copy_(policy.log_std)


@pytest.mark.parametrize("env_id", ["CartPole-v1", "HalfCheetah-v5"])
@pytest.mark.filterwarnings("ignore")
def test_loss_and_gradient_equal_those_of_stable_baselines3(env_id, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # MuJoCo writes a log file where it runs
    sb3 = pytest.importorskip("stable_baselines3")
    env = gym.make(env_id)
    algorithm = sb3.PPO("MlpPolicy", env, seed=3, device="cpu", policy_kwargs={"log_std_init": -0.3})
    agent = make_agent(env.action_space, env.observation_space, entropy_coefficient=0.01)
    copy_from_sb3(algorithm.policy, agent)

    generator = torch.Generator().manual_seed(0)
    obs = torch.randn(64, *env.observation_space.shape, generator=generator)
    with torch.no_grad():
        action, value, log_prob = algorithm.policy(obs)
    # Old probabilities that differ from the present ones, so that clipping matters.
    log_prob = log_prob + 0.2 * torch.randn(64, generator=generator)
    advantage, returns = torch.randn(2, 64, generator=generator)

    # The loss of stable_baselines3.PPO.train, assembled from its own policy's outputs.
    values, new_log_prob, entropy = algorithm.policy.evaluate_actions(obs, action)
    normal = (advantage - advantage.mean()) / (advantage.std() + 1e-8)
    ratio = torch.exp(new_log_prob - log_prob)
    policy_loss = -torch.min(normal * ratio, normal * torch.clamp(ratio, 0.8, 1.2)).mean()
    value_loss = torch.nn.functional.mse_loss(returns, values.flatten())
    expected = policy_loss + 0.5 * value_loss - 0.01 * entropy.mean()
    algorithm.policy.zero_grad()
    expected.backward()

    ones = torch.ones(64, dtype=torch.bool)
    batch = [
        x.unsqueeze(0)
        for x in (obs, ones, action, log_prob, value.flatten(), advantage, returns, ones, torch.zeros(64, 0))
    ]
    loss, metrics = agent.loss(PPOBatch(*batch), *torch.tensor([0.2, 0.01]))
    loss.backward()

    assert loss.item() == pytest.approx(expected.item(), abs=1e-5)
    assert metrics["loss/policy"].item() == pytest.approx(policy_loss.item(), abs=1e-5)
    assert metrics["loss/value"].item() == pytest.approx(value_loss.item(), rel=1e-5)
    assert metrics["policy/entropy"].item() == pytest.approx(entropy.mean().item(), rel=1e-5)
    pairs = [
        (algorithm.policy.mlp_extractor.policy_net, agent.torso.encoder.layers),
        (algorithm.policy.mlp_extractor.value_net, agent.value_torso.encoder.layers),
        (algorithm.policy.action_net, agent.head.layer),
        (algorithm.policy.value_net, agent.networks["value_head"]),
    ]
    for theirs, ours in pairs:
        for left, right in zip(theirs.parameters(), ours.parameters(), strict=True):
            torch.testing.assert_close(right.grad, left.grad, rtol=1e-4, atol=1e-5)


class Kept(gym.Wrapper):
    """Keeps what the environment returned."""

    def reset(self, **options):
        obs, info = self.env.reset(**options)
        self.obs, self.first = obs, True
        return obs, info

    def step(self, action):
        obs, reward, terminated, truncated, info = self.env.step(action)
        self.steps.append((self.obs, reward, terminated, truncated, obs, self.first))
        self.obs, self.first = obs, False
        return obs, reward, terminated, truncated, info


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("target_kl", [None, 0.002])
def test_two_whole_updates_equal_those_of_stable_baselines3(target_kl, tmp_path, monkeypatch):
    """Bootstraps of time limits and of ends, advantages, clipped gradients, Adam: the weights are the same after it.

    With a target for the divergence both stop after the same steps.

    Each minibatch is the whole rollout, so that no order of its steps matters.
    """
    monkeypatch.chdir(tmp_path)
    sb3 = pytest.importorskip("stable_baselines3")
    env = Kept(gym.make("Hopper-v5", max_episode_steps=9))
    shared = {"batch_size": 96, "gamma": 0.98, "gae_lambda": 0.9, "learning_rate": 1e-3, "max_grad_norm": 0.6}
    shared["target_kl"] = target_kl
    algorithm = sb3.PPO(
        *("MlpPolicy", env),
        **shared,
        **{"n_steps": 96, "n_epochs": 6, "ent_coef": 0.01, "vf_coef": 0.7, "seed": 3, "device": "cpu"},
    )
    agent = make_agent(
        *(env.action_space, env.observation_space),
        **shared,
        **{"rollout_length": 96, "epochs": 6, "entropy_coefficient": 0.01, "value_coefficient": 0.7},
    )
    copy_from_sb3(algorithm.policy, agent)
    ends = np.zeros(2, int)
    for _ in range(2):
        env.steps = []
        algorithm.learn(96, reset_num_timesteps=False)
        for (obs, reward, terminated, truncated, successor, first), action in zip(
            env.steps, algorithm.rollout_buffer.actions, strict=True
        ):
            flags = (np.array([flag]) for flag in (terminated, truncated))
            memory = np.zeros((1, 0), np.float32)
            row = (obs[None].astype(np.float32), action[None], np.array([reward]), *flags)
            agent.learn(
                Transition(*row, successor[None].astype(np.float32), np.array([first]), memory, memory)
            )
            ends += terminated, truncated and not terminated
    assert (ends > 0).all()
    assert agent.optimizer.count == 12 if target_kl is None else 4 < agent.optimizer.count < 10
    theirs, ours = make_agent(env.action_space, env.observation_space), agent
    copy_from_sb3(algorithm.policy, theirs)
    for (name, left), right in zip(
        theirs.networks.named_parameters(), ours.networks.parameters(), strict=True
    ):
        torch.testing.assert_close(
            right, left, rtol=1e-3, atol=1e-4, msg=lambda text, name=name: f"{name}: {text}"
        )


# -- By hand -----------------------------------------------------------------------------------------------------


def test_loss_terms_by_hand():
    """Two actions, zero features: the policy is uniform and the value zero, so every term is known."""
    agent = make_agent(spaces.Discrete(2), normalize_advantage=False)
    for parameter in agent.networks.parameters():
        parameter.data.zero_()
    old_log_prob = torch.log(torch.tensor([[0.5, 0.25]]))  # ratios 1 and 2
    advantage, returns = torch.tensor([[1.0, 3.0]]), torch.tensor([[2.0, -1.0]])
    batch = PPOBatch(
        obs=torch.zeros(1, 2, 3),
        first=torch.ones(1, 2, dtype=torch.bool),
        action=torch.tensor([[0, 1]]),
        old_log_prob=old_log_prob,
        old_value=torch.zeros(1, 2),
        advantage=advantage,
        returns=returns,
        valid=torch.tensor([[True, True]]),
        state=torch.zeros(1, 2, 0),
    )
    loss, metrics = agent.loss(batch, *torch.tensor([0.2, 0.1]))
    policy_loss = -(1.0 * 1.0 + 1.2 * 3.0) / 2  # the second ratio is clipped from 2 to 1.2
    value_loss = (4.0 + 1.0) / 2
    assert metrics["loss/policy"].item() == pytest.approx(policy_loss)
    assert metrics["loss/value"].item() == pytest.approx(value_loss)
    assert metrics["policy/entropy"].item() == pytest.approx(np.log(2))
    assert metrics["policy/approx_kl"].item() == pytest.approx((0 + (2 - 1 - np.log(2))) / 2, rel=1e-5)
    assert metrics["policy/clip_fraction"].item() == 0.5
    assert loss.item() == pytest.approx(policy_loss + 0.5 * value_loss - 0.1 * np.log(2))


def test_a_clipped_value_takes_the_larger_error():
    agent = make_agent(spaces.Discrete(2), value_clip_range=0.5)
    for parameter in agent.networks.parameters():
        parameter.data.zero_()
    old_value, returns = torch.tensor([[2.0, -0.2]]), torch.tensor([[0.5, 1.0]])
    zero = torch.zeros(1, 2)
    batch = PPOBatch(
        obs=torch.zeros(1, 2, 3),
        first=zero == 0,
        action=zero,
        old_log_prob=zero,
        old_value=old_value,
        advantage=zero,
        returns=returns,
        valid=zero == 0,
        state=torch.zeros(1, 2, 0),
    )
    _, metrics = agent.loss(batch, *torch.tensor([0.2, 0.0]))
    # The value is 0. First: clipped to 2 - 0.5 = 1.5, error 1 against 0.25. Second: moved by 0.2, not clipped.
    assert metrics["loss/value"].item() == pytest.approx((1.0 + 1.0) / 2)


def test_invalid_rows_change_nothing():
    agent = make_agent(spaces.Discrete(2))
    generator = torch.Generator().manual_seed(0)
    floats = torch.randn(4, 1, 6, generator=generator)
    obs = torch.randn(1, 6, 3, generator=generator)
    action = torch.tensor([[0, 1, 0, 1, 1, 0]])
    valid = torch.tensor([[True, True, False, True, False, True]])
    weights = torch.tensor([0.2, 0.1])
    batch = PPOBatch(obs, valid, action, *floats, valid, torch.zeros(1, 6, 0))
    masked, _ = agent.loss(batch, *weights)
    keep = valid[0]
    fewer, _ = agent.loss(PPOBatch(*(x[:, keep] for x in batch)), *weights)
    assert masked.item() == pytest.approx(fewer.item(), abs=1e-6)


def test_explained_variance_by_hand():
    valid = np.array([True, True, True, False])
    returns = np.array([1.0, 2.0, 3.0, 100.0])
    assert explained_variance(returns, returns, valid) == 1
    assert explained_variance(np.zeros(4), returns, valid) == 0
    assert np.isnan(explained_variance(np.zeros(4), np.ones(4), valid))


# -- The rollout -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("memory", MEMORIES)
@pytest.mark.parametrize("share", [False, True])
def test_successors_are_valued_where_they_belong(memory, share):
    """The next value of a row is that of its true successor, with the memory that its own episode left."""
    agent = make_agent(spaces.Discrete(2), rollout_length=6, memory=memory, share_torso=share)
    # The second rollout: its memory goes back beyond its first row.
    seen = list(itertools.islice(random_transitions(agent, num_envs=2, episode=4), 12))[6:]
    for transition in seen:
        agent.rollout.add(transition)
    rollout = agent.rollout
    sequence = Sequence(*map(torch.from_numpy, rollout.sequence()))
    log_prob, value, next_value = agent._evaluate(rollout, sequence)

    def value_of(obs, state, first):
        with torch.no_grad():
            return agent._value(*(torch.from_numpy(x) for x in (obs[None], state, first[None])))[0].numpy()

    for t, transition in enumerate(seen):
        expected = value_of(transition.obs, transition.state, transition.first)
        # To what a memory promises of whole and stepwise unrolls.
        np.testing.assert_allclose(value[t], expected, atol=1e-5)
        expected = value_of(transition.next_obs, transition.next_state, np.zeros(2, bool))
        live = ~transition.terminated  # the successor of a termination has no value anybody asks for
        np.testing.assert_allclose(next_value[t][live], expected[live], atol=1e-5)
    assert log_prob.shape == (6, 2) and (log_prob < 0).all()


@pytest.mark.parametrize("memory", MEMORIES)
def test_windows_begin_with_the_memory_they_began_with(memory):
    """Before the first step every action is as likely as it was, wherever windows and episodes begin and end."""
    agent = make_agent(spaces.Discrete(2), rollout_length=10, sequence_length=4, batch_size=8, memory=memory)
    losses = []
    agent.optimizer.step = lambda loss, batch, rate: losses.append((loss(*batch)[1], batch)) or losses[-1][0]
    for transition in itertools.islice(random_transitions(agent, num_envs=3, episode=4), 20):
        agent.learn(transition)
    per_epoch = 4 if memory == "none" else 5  # 30 steps by 8; 9 windows (the last ones padded) by 2
    assert len(losses) == 2 * 4 * per_epoch
    for metrics, _ in losses:
        assert abs(metrics["policy/approx_kl"].item()) < 1e-6 and metrics["policy/clip_fraction"] == 0
    assert sum(int(batch[0].valid.sum()) for _, batch in losses) == 2 * 4 * 30


def test_windows_are_filled_up_with_steps_that_were_made():
    """A policy that is very sure of itself: steps that nobody made would be infinitely more likely than they were."""
    space = spaces.Box(-0.4, 0.4, (17,), np.float32)
    agent = make_agent(space, rollout_length=10, sequence_length=4, memory="gru", log_std=-6.0)
    for transition in itertools.islice(random_transitions(agent, num_envs=2), 10):
        metrics = agent.learn(transition)
    assert np.isfinite(metrics["loss/policy"].item())
    assert all(parameter.isfinite().all() for parameter in agent.networks.parameters())


def test_every_step_is_learned_once_an_epoch():
    agent = make_agent(spaces.Discrete(2), rollout_length=7, batch_size=4, epochs=3)
    seen = []
    agent.optimizer.step = lambda loss, batch, rate: (
        seen.append(batch[0].advantage.flatten()) or {"policy/approx_kl": torch.tensor(0.0)}
    )
    for transition in itertools.islice(random_transitions(agent, num_envs=2), 7):
        agent.learn(transition)
    assert [len(batch) for batch in seen] == [4, 4, 4, 2] * 3
    epochs = torch.cat(seen).reshape(3, 14)
    assert len(epochs[0].unique()) == 14
    for epoch in epochs:
        assert torch.equal(epoch.sort().values, epochs[0].sort().values)
    assert not torch.equal(epochs[0], epochs[1])


def test_target_kl_stops_the_update():
    options = {"rollout_length": 8, "batch_size": 4, "epochs": 5, "learning_rate": 0.1}
    counts = []
    for target in (None, 1e-6):
        agent = make_agent(spaces.Discrete(2), target_kl=target, **options)
        for transition in itertools.islice(random_transitions(agent, num_envs=2), 8):
            agent.learn(transition)
        counts.append(int(agent.optimizer.count))
    assert counts[0] == 20
    # The first step moves the policy from where the ratio is one; before the second it has moved.
    assert counts[1] == 1


def test_schedules_follow_the_steps_seen():
    agent = make_agent(spaces.Discrete(2), rollout_length=10, learning_rate="linear(0.1, 0)")
    stream = random_transitions(agent, num_envs=5)
    agent.steps.total = 200
    rates = [
        metrics["policy/learning_rate"] for t in itertools.islice(stream, 40) if (metrics := agent.learn(t))
    ]
    assert rates == pytest.approx([0.075, 0.05, 0.025, 0.0])


@pytest.mark.parametrize(
    "action_space",
    [
        spaces.Discrete(3, start=-1),
        spaces.MultiDiscrete([2, 3]),
        spaces.MultiBinary(4),
        spaces.Box(np.float32([-1, 0]), np.float32([1, 5])),
    ],
    ids=["discrete", "multi-discrete", "multi-binary", "box"],
)
@pytest.mark.parametrize("normalize", [False, True])
def test_learning_goes_on_exactly_from_its_parts(action_space, normalize):
    """Mid-rollout state, put into a fresh agent with other weights, gives bit-equal actions and parameters."""
    go_on_from_parts(action_space, normalize, "none")


@pytest.mark.parametrize("memory", ["lstm", "gru", "transformer"])
def test_learning_with_a_memory_goes_on_exactly_from_its_parts(memory):
    go_on_from_parts(spaces.Discrete(3), True, memory)


def go_on_from_parts(action_space, normalize, memory):
    options = {
        "rollout_length": 8,
        "batch_size": 8,
        "sequence_length": 4,
        "memory": memory,
        "normalize_reward": normalize,
        "encoder": MLPConfig(hidden=(16,), normalize=normalize),
    }
    agent, fresh = make_agent(action_space, **options), make_agent(action_space, seed=99, **options)
    goes_on_exactly(agent, fresh, random_transitions(agent, num_envs=3), 20, 20)
    assert int(agent.optimizer.count) == 5 * 4 * 3


def test_actions_without_exploration_draw_nothing():
    agent = make_agent(spaces.Discrete(4))
    obs, state, first = np.ones((2, 3), np.float32), agent.initial_state(2), np.ones(2, bool)
    before = agent.act_generator.bit_generator.state
    actions = {tuple(agent.act(obs, state, first, explore=False)[0]) for _ in range(10)}
    assert len(actions) == 1 and agent.act_generator.bit_generator.state == before
    assert len({tuple(agent.act(obs, state, first)[0]) for _ in range(50)}) > 4


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"learning_rate": "linear(1"}, "cannot read schedule"),
        ({"clip_range": -0.1}, "clip_range: must stay >= 0"),
        ({"entropy_coefficient": "linear(0.1, -0.1)"}, "entropy_coefficient: must stay >= 0"),
    ],
)
def test_bad_schedules_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        PPOConfig(**options)


def test_planned_updates():
    config = PPOConfig(rollout_length=128, batch_size=256, epochs=4)
    assert config.planned_updates(total_steps=10_240, num_envs=8) == 10 * 4 * 4


MASKED = spaces.Dict({"obs": BOX, "action_mask": spaces.MultiBinary(4)})


@pytest.mark.parametrize("memory", ["none", "lstm"])
def test_forbidden_actions_are_neither_taken_nor_learned(memory):
    agent = make_agent(
        spaces.Discrete(4), MASKED, rollout_length=8, batch_size=8, memory=memory, learning_rate=0.1
    )
    generator = np.random.default_rng(0)

    def look():
        mask = generator.integers(0, 2, (3, 4)).astype(np.int8)
        mask[np.arange(3), generator.integers(0, 4, 3)] = 1  # something is always allowed
        return {"obs": generator.standard_normal((3, 3)).astype(np.float32), "action_mask": mask}

    obs, state, first, off = look(), agent.initial_state(3), np.ones(3, bool), np.zeros(3, bool)
    for t in range(80):
        for explore in (False, True):
            action, next_state = agent.act(obs, state, first, explore)
            assert (obs["action_mask"][np.arange(3), action] == 1).all()
        next_obs = look()
        ends = np.full(3, t % 5 == 4)
        metrics = agent.learn(
            Transition(
                obs, action, generator.standard_normal(3), off, ends, next_obs, first, state, next_state
            )
        )
        if metrics:
            assert np.isfinite([float(value) for value in metrics.values()]).all()
            assert 0 <= metrics["policy/entropy"] <= np.log(4)
        obs, state, first = next_obs, next_state, ends
    assert torch.isfinite(agent.optimizer.vector).all()


def test_a_minibatch_of_one_step_cannot_be_normalised():
    with pytest.raises(ValueError, match="batch_size: the advantage of one lone step"):
        make_agent(spaces.Discrete(2), batch_size=1)
    make_agent(spaces.Discrete(2), batch_size=1, normalize_advantage=False)
    make_agent(spaces.Discrete(2), batch_size=1, memory="gru")  # one window, which is many steps


@pytest.mark.parametrize(
    ("length", "sizes"), [(17, [8, 9]), (16, [8, 8]), (9, [9]), (18, [8, 8, 2]), (1, [1])]
)
def test_a_last_step_alone_joins_the_minibatch_before(length, sizes):
    agent = make_agent(spaces.Discrete(2), batch_size=8, rollout_length=length, epochs=1)
    seen, loss = [], agent.loss

    def watched(batch, *more):
        seen.append(batch.valid.numel())
        return loss(batch, *more)

    agent.loss = watched
    stream = random_transitions(agent, num_envs=1)
    metrics = [agent.learn(next(stream)) for _ in range(length)][-1]
    assert seen == sizes and metrics["loss/policy"] != 0
