import copy
import itertools

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium import spaces

from palaestra.agents.agent import Transition
from palaestra.agents.ddpg import DDPG, DDPGConfig
from palaestra.agents.storage.replay_batches import TransitionBatch, sample_windows
from palaestra.envs.tasks.probes import action, action_observation
from palaestra.networks.encoders.mlp import MLP, MLPConfig
from palaestra.networks.q_value import ActionBounds, ActionValues
from palaestra.networks.torso import build_torso

from .memories import MEMORIES
from .streams import goes_on_exactly, random_transitions

torch.set_num_threads(1)  # more only slow such small networks down

OBS = spaces.Box(-1, 1, (3,), np.float32)
# One dimension that is not symmetric, one that is a thousand times wider.
ACTIONS = spaces.Box(np.float32([-1, 0]), np.float32([3, 1000]))
TD3 = {"twin_critics": True, "policy_delay": 2, "target_smoothing": 0.2, "target_smoothing_clip": 0.5}
PASS_ON = MLPConfig(hidden=())
NORMALIZED = MLPConfig(hidden=(), normalize=True)
SMALL = {"actor_hidden": (16, 16), "critic_hidden": (16, 16), "batch_size": 8}


def make_agent(
    action_space=ACTIONS,
    obs_space=OBS,
    seed=0,
    encoder=PASS_ON,
    memory="none",
    compile=False,
    **options,
) -> DDPG:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return DDPG(
            DDPGConfig(**{"learning_starts": 0, "replay_capacity": 1000} | SMALL | options),
            action_space,
            lambda: build_torso(obs_space, MLP, MEMORIES[memory][0], encoder, MEMORIES[memory][1]),
            seed=seed,
            total_steps=10_000,
            device=torch.device("cpu"),
            compile=compile,
        )


def vectors(agent):
    """All parameters of each network, as the optimisers and targets hold them."""
    return {
        "actor": agent.actor_optimizer.vector,
        "critic": agent.critic_optimizer.vector,
        "target_actor": agent.target_actor_vector,
        "target_critic": agent.target_critic_vector,
    }


def random_batch(size, action_size, obs_size=3, seed=0):
    """Obs, action, reward, discount and next obs of a batch."""
    generator = torch.Generator().manual_seed(seed)
    obs, next_obs = torch.randn(2, size, obs_size, generator=generator)
    action_ = torch.rand(size, action_size, generator=generator) * 2 - 1
    reward = torch.randn(size, generator=generator)
    discount = 0.98 * (torch.rand(size, generator=generator) > 0.2)
    return obs, action_, reward, discount, next_obs


# -- Stable-Baselines3 as an oracle ------------------------------------------------------------------------------


def critic_pairs(ours, theirs, attribute):
    """Our stacked critics' parameters (or gradients) beside those of SB3's critics."""
    for index, network in enumerate(theirs.q_networks):
        layers = [layer for layer in network if isinstance(layer, torch.nn.Linear)]
        for layer, weight, bias in zip(layers, ours.head.weights, ours.head.biases, strict=True):
            yield getattr(weight, attribute)[index], getattr(layer.weight, attribute).T
            yield getattr(bias, attribute)[index, 0], getattr(layer.bias, attribute)


def actor_pairs(ours, theirs, attribute):
    """Our actor's parameters (or gradients) beside those of SB3's."""
    for left, right in zip(ours.head.parameters(), theirs.mu.parameters(), strict=True):
        yield getattr(left, attribute), getattr(right, attribute)


def assert_same(pairs):
    for left, right in pairs:
        torch.testing.assert_close(left, right, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["DDPG", "TD3"])
def test_losses_gradients_and_updates_equal_those_of_stable_baselines3(name, monkeypatch):
    sb3 = pytest.importorskip("stable_baselines3")
    from stable_baselines3.common.type_aliases import ReplayBufferSamples

    algorithm = getattr(sb3, name)(
        "MlpPolicy", "Pendulum-v1", seed=3, device="cpu", policy_kwargs={"net_arch": [32, 24]}, gamma=0.98
    )
    algorithm._logger = sb3.common.logger.configure(format_strings=[])
    env = gym.make("Pendulum-v1")
    options = TD3 if name == "TD3" else {}
    hidden = {"actor_hidden": (32, 24), "critic_hidden": (32, 24)}
    agent = make_agent(env.action_space, env.observation_space, **hidden, **options)
    policy = algorithm.policy
    sides = [
        (agent.actor, agent.critic, policy.actor, policy.critic),
        (agent.target_actor, agent.target_critic, policy.actor_target, policy.critic_target),
    ]
    for actor, critic, their_actor, their_critic in sides:
        for pair in (*actor_pairs(actor, their_actor, "data"), *critic_pairs(critic, their_critic, "data")):
            pair[0].copy_(pair[1])

    for update in range(1, 5):
        obs, action_, reward, discount, next_obs = random_batch(64, 1, seed=update)
        # Theirs wants to know which steps ended, and multiplies by gamma itself.
        done = (discount == 0).float()
        sample = ReplayBufferSamples(obs, action_, next_obs, done[:, None], reward[:, None])
        monkeypatch.setattr(algorithm.replay_buffer, "sample", lambda *args, sample=sample, **kwargs: sample)
        torch.manual_seed(update)
        smoothing = torch.empty_like(action_).normal_(0, 0.2)
        torch.manual_seed(update)
        delayed = update % agent.config.policy_delay == 0

        noise = (smoothing / 0.2,) if name == "TD3" else ()
        batch = TransitionBatch(obs, action_, reward, discount, next_obs, torch.ones(64), *noise)
        agent.sample = lambda batch=batch: batch

        algorithm.train(1, 64)
        metrics = agent.update(1)
        logged = algorithm.logger.name_to_value
        assert metrics["loss/value"].item() == pytest.approx(logged["train/critic_loss"], rel=1e-5)
        assert ("loss/policy" in metrics) == delayed
        if delayed:
            assert metrics["loss/policy"].item() == pytest.approx(
                logged["train/actor_loss"], rel=1e-5, abs=1e-6
            )
            assert_same(actor_pairs(agent.actor, policy.actor, "grad"))
        else:
            # Only then: their actor's loss adds to the critics' gradients, to no effect.
            assert_same(critic_pairs(agent.critic, policy.critic, "grad"))
        for actor, critic, their_actor, their_critic in sides:
            assert_same(actor_pairs(actor, their_actor, "data"))
            assert_same(critic_pairs(critic, their_critic, "data"))


# -- By hand -----------------------------------------------------------------------------------------------------


def set_to_line(agent, slopes, target_slopes, next_action=0.0):
    """Critics `Q_i(obs, action) = slope_i * sum(action)`, actors that always choose `next_action`."""
    sides = ((agent.actor, agent.critic, slopes), (agent.target_actor, agent.target_critic, target_slopes))
    for actor, critic, values in sides:
        for parameter in (*actor.parameters(), *critic.parameters()):
            parameter.data.zero_()
        critic.head.weights[0].data[:, -1, 0] = torch.tensor(values)
        actor.head[0].bias.data.fill_(np.arctanh(next_action))


LINE = {"actor_hidden": (), "critic_hidden": ()}


def test_target_smoothing_and_twin_critics_by_hand():
    space = spaces.Box(-1, 1, (1,), np.float32)
    agent = make_agent(space, **LINE, **TD3)
    set_to_line(agent, slopes=[1.0, 2.0], target_slopes=[10.0, 20.0], next_action=0.4)
    zeros = torch.zeros(4, 3)
    taken = torch.full((4, 1), 0.5)
    reward, discount = torch.tensor([1.0, 1.0, 1.0, 1.0]), torch.tensor([0.9, 0.9, 0.9, 0.0])
    noise = torch.tensor([[0.0], [1.0], [-9.0], [0.0]])
    batch = TransitionBatch(zeros, taken, reward, discount, zeros, torch.ones(4), noise)
    loss, metrics = agent.critic_loss(batch)
    # Next actions: 0.4; 0.4 + 0.2; 0.4 - 0.5 (clipped from -1.8). The lower critic has slope 10 where the action
    # is positive and 20 where it is negative. The last step terminated.
    target = torch.tensor([1 + 0.9 * 4, 1 + 0.9 * 6, 1 + 0.9 * -2, 1.0])
    expected = (0.5 - target).square().mean() + (1.0 - target).square().mean()
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)
    assert metrics["value/mean"].item() == pytest.approx(0.75)


def test_a_smoothed_action_stays_inside_its_bounds():
    agent = make_agent(spaces.Box(-1, 1, (1,), np.float32), **LINE, **TD3)
    set_to_line(agent, slopes=[0.0, 0.0], target_slopes=[1.0, 1.0], next_action=0.9)
    zeros, one = torch.zeros(1, 3), torch.ones(1)
    batch = TransitionBatch(zeros, torch.zeros(1, 1), 0 * one, one, zeros, one, torch.tensor([[3.0]]))
    loss, _ = agent.critic_loss(batch)
    # 0.9 + 0.5 is clipped to 1, for both critics.
    assert loss.item() == pytest.approx(2 * 1.0)


def test_the_actor_climbs_the_first_critic_and_leaves_it_alone():
    agent = make_agent(spaces.Box(-1, 1, (1,), np.float32), **LINE, **TD3)
    set_to_line(agent, slopes=[3.0, -5.0], target_slopes=[0.0, 0.0], next_action=0.6)
    zeros, any_ = torch.zeros(4, 3), torch.zeros(4)
    batch = TransitionBatch(zeros, any_[:, None], any_, any_, zeros, torch.ones(4))
    loss, _ = agent.actor_loss(batch)
    loss.backward()
    assert loss.item() == pytest.approx(-3 * 0.6, rel=1e-5)
    # d loss / d bias = -3 (1 - tanh^2)
    bias = agent.actor.head[0].bias
    assert bias.grad.item() == pytest.approx(-3 * (1 - 0.6**2), rel=1e-5)
    assert not agent.critic_optimizer.gradient.any()


def test_a_delayed_policy_moves_every_second_update_and_the_targets_with_it():
    agent = make_agent(tau=0.1, **TD3)
    for transition in itertools.islice(random_transitions(agent, num_envs=1), 20):
        agent.replay.add(transition._replace(action=agent.bounds.scale(transition.action)))
    for update in range(1, 7):
        before = {name: vector.clone() for name, vector in vectors(agent).items()}
        metrics = agent.update(1)
        after, due = vectors(agent), update % 2 == 0
        assert torch.equal(before["actor"], after["actor"]) is not due
        assert not torch.equal(before["critic"], after["critic"])
        assert ("loss/policy" in metrics) == due
        for name in ("actor", "critic"):
            target = before[f"target_{name}"]
            expected = 0.9 * target + 0.1 * after[name] if due else target
            torch.testing.assert_close(after[f"target_{name}"], expected)


def test_stacked_critics_equal_separate_ones():
    stack = ActionValues(3, 2, (8, 8), "relu", count=3)
    features, chosen = torch.randn(5, 3), torch.randn(5, 2)
    for index, values in enumerate(stack(features, chosen)):
        alone = ActionValues(3, 2, (8, 8), "relu", count=1)
        alone.load_state_dict({name: x[index : index + 1] for name, x in stack.state_dict().items()})
        torch.testing.assert_close(values, alone(features, chosen)[0])
    torch.testing.assert_close(stack.first(features, chosen), stack(features, chosen)[0])


# -- Actions -----------------------------------------------------------------------------------------------------


def test_actions_are_rescaled_by_the_bounds_of_each_dimension():
    bounds = ActionBounds(ACTIONS)
    ends = np.float32([[-1, 0], [1, 500], [3, 1000], [0, 250]])
    scaled = np.float32([[-1, -1], [0, 0], [1, 1], [-0.5, -0.5]])
    np.testing.assert_allclose(bounds.scale(ends), scaled, atol=1e-7)
    np.testing.assert_allclose(bounds.unscale(scaled), ends, atol=1e-4)
    assert bounds.scale(ends).dtype == np.float32 and bounds.unscale(scaled).dtype == np.float32
    # What lies outside is executed as the nearest bound, and must be learned as that.
    np.testing.assert_array_equal(bounds.scale(np.float32([[9, -7]])), [[1, -1]])


def test_action_arrays_of_any_shape_are_flattened_inside():
    bounds = ActionBounds(spaces.Box(0, 2, (2, 3), np.float64))
    actions = np.random.default_rng(0).uniform(0, 2, (4, 2, 3))
    assert bounds.scale(actions).shape == (4, 6)
    restored = bounds.unscale(bounds.scale(actions))
    assert restored.dtype == np.float64
    np.testing.assert_allclose(restored, actions, atol=1e-6)


def test_the_replay_holds_rescaled_actions():
    agent = make_agent(learning_starts=100)
    transitions = list(itertools.islice(random_transitions(agent, num_envs=4), 10))
    for transition in transitions:
        agent.learn(transition)
    stored = agent.replay.sample(200, np.random.default_rng(0))
    assert np.abs(stored.action).max() <= 1
    by_obs = {t.obs[b].tobytes(): t.action[b] for t in transitions for b in range(4)}
    taken = np.stack([by_obs[obs.tobytes()] for obs in stored.obs])
    np.testing.assert_allclose(taken, [1, 500] + stored.action * [2, 500], rtol=1e-5, atol=1e-4)


def test_warm_up_is_uniform_over_the_bounds_and_then_stops():
    agent = make_agent(learning_starts=20)
    obs, first = np.zeros((5000, 3), np.float32), np.ones(5000, bool)
    state = agent.initial_state(5000)
    actions, _ = agent.act(obs, state, first)
    assert ACTIONS.contains(actions[0])
    unit = (actions - ACTIONS.low) / (ACTIONS.high - ACTIONS.low)
    for dimension in unit.T:
        counts = np.histogram(dimension, bins=10, range=(0, 1))[0]
        assert counts.sum() == 5000 and np.abs(counts - 500).max() < 100
    assert abs(np.corrcoef(unit.T)[0, 1]) < 0.05
    agent.steps.add(20)
    noisy = agent.bounds.scale(agent.act(obs, state, first)[0])
    policy = agent.bounds.scale(agent.act(obs, state, first, explore=False)[0])
    assert (noisy - policy).std() == pytest.approx(0.1, rel=0.05)


@pytest.mark.parametrize("noise", ["gaussian", "ornstein-uhlenbeck"])
def test_noisy_actions_are_clipped_to_the_bounds(noise):
    agent = make_agent(noise=noise, noise_std=30.0)
    obs, first = np.zeros((500, 3), np.float32), np.ones(500, bool)
    scaled = agent.bounds.scale(agent.act(obs, agent.initial_state(500), first)[0])
    actions = agent.act(obs, agent.initial_state(500), first)[0]
    assert (np.abs(scaled) == 1).mean() > 0.5
    assert actions.min(0) == pytest.approx(ACTIONS.low) and actions.max(0) == pytest.approx(ACTIONS.high)


def test_the_noise_follows_its_schedule():
    agent = make_agent(noise_std="linear(0.4, 0.1)")
    obs, first = np.zeros((5000, 3), np.float32), np.ones(5000, bool)
    policy = agent.bounds.scale(agent.act(obs, agent.initial_state(5000), first, explore=False)[0])
    agent.steps.add(agent.steps.total // 2)
    noisy = agent.bounds.scale(agent.act(obs, agent.initial_state(5000), first)[0])
    assert (noisy - policy).std() == pytest.approx(0.25, rel=0.05)


@pytest.mark.parametrize("warm", [True, False])
@pytest.mark.parametrize("noise", ["gaussian", "ornstein-uhlenbeck"])
def test_actions_without_exploration_draw_nothing(noise, warm):
    agent = make_agent(noise=noise, learning_starts=10 if warm else 0)
    obs, state, first = np.ones((2, 3), np.float32), agent.initial_state(2), np.ones(2, bool)
    agent.act(obs, state, first)
    before, walk = agent.act_generator.bit_generator.state, copy.deepcopy(agent.noise.state_dict())
    actions = {agent.act(obs, state, first, explore=False)[0].tobytes() for _ in range(5)}
    assert len(actions) == 1 and agent.act_generator.bit_generator.state == before
    np.testing.assert_equal(agent.noise.state_dict(), walk)
    assert len({agent.act(obs, state, first)[0].tobytes() for _ in range(5)}) == 5


@pytest.mark.parametrize(
    "space",
    [
        spaces.Discrete(2),
        spaces.Box(0, 9, (1,), np.int64),
        spaces.Box(-np.inf, np.inf, (2,)),
        spaces.Box(np.float32([-1, 0]), np.float32([1, np.inf])),
    ],
    ids=["discrete", "integers", "unbounded", "half-bounded"],
)
def test_actions_that_cannot_be_bounded_are_refused(space):
    with pytest.raises(
        TypeError, match=r"no deterministic policy for .* float Box .* with finite bounds"
    ) as caught:
        make_agent(space)
    assert "\n" not in str(caught.value)


# -- When it learns ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("num_envs", "train_every", "gradient_steps", "expected"),
    [
        (1, 1, 1, [0, 0, 0, 0, 1, 1, 1, 1]),
        (1, 3, -1, [0, 0, 0, 0, 0, 3, 0, 0]),
        (4, 1, 1, [0, 4, 4, 4, 4, 4, 4, 4]),
        (4, 8, 2, [0, 2, 0, 2, 0, 2, 0, 2]),
        (4, 6, -1, [0, 6, 6, 0, 6, 6, 0, 6]),
    ],
)
def test_updates_follow_the_environment_steps(num_envs, train_every, gradient_steps, expected):
    agent = make_agent(learning_starts=4, train_every=train_every, gradient_steps=gradient_steps)
    done = [0]
    for transition in itertools.islice(random_transitions(agent, num_envs), 8):
        metrics = agent.learn(transition)
        done.append(agent.updates.count)
        assert bool(metrics) == (done[-1] > done[-2])
    assert np.diff(done).tolist() == expected


def test_planned_updates_count_both_optimisers():
    config = DDPGConfig(learning_starts=1000, train_every=4, gradient_steps=2)
    assert config.planned_updates(total_steps=5000, num_envs=1) == 2 * 2000
    assert DDPGConfig(learning_starts=0, policy_delay=2).planned_updates(1000, 8) == 1000 + 500


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"learning_rate": "linear(1"}, "cannot read schedule"),
        ({"noise_std": -0.1}, "noise_std: must stay >= 0"),
        ({"gradient_steps": 0}, "gradient_steps: must be positive"),
    ],
)
def test_bad_options_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        DDPGConfig(**options)


def test_rows_spent_on_resetting_are_neither_learned_nor_counted():
    agent = make_agent(learning_starts=100, encoder=NORMALIZED)
    valid = np.array([True, False, True])
    for transition in itertools.islice(random_transitions(agent, num_envs=3), 10):
        agent.learn(transition._replace(obs=np.where(valid[:, None], transition.obs, 1e6), valid=valid))
    assert agent.steps.count == 20 and len(agent.replay) == 20
    assert np.abs(agent.replay.sample(200, np.random.default_rng(0)).obs).max() < 10
    assert agent.torso.encoder.normalize.mean.abs().max() < 2


def test_targets_see_the_same_normalisation():
    agent = make_agent(encoder=NORMALIZED)
    for transition in itertools.islice(random_transitions(agent, num_envs=3), 10):
        agent.learn(transition)
    for online, target in ((agent.actor, agent.target_actor), (agent.critic, agent.target_critic)):
        normalizer = online.torso.encoder.normalize
        assert normalizer.count == 30 and target.torso.encoder.normalize.shift is normalizer.shift


def test_encoders_learn_too_and_images_keep_their_type():
    images = spaces.Box(0, 255, (4, 4, 3), np.uint8)
    agent = make_agent(obs_space=images, encoder=MLPConfig(hidden=(8,), activation="relu"), learning_starts=3)
    generator = np.random.default_rng(0)
    before = copy.deepcopy((agent.actor, agent.critic))
    for transition in itertools.islice(random_transitions(agent, num_envs=2, obs_size=48), 6):
        obs, next_obs = generator.integers(0, 255, (2, 2, 4, 4, 3), dtype=np.uint8)
        agent.learn(transition._replace(obs=obs, next_obs=next_obs))
    assert agent.replay.sample(4, generator).obs.dtype == np.uint8
    networks = zip(
        (agent.actor, agent.critic), before, (agent.target_actor, agent.target_critic), strict=True
    )
    for triple in networks:
        online, old, target = (network.torso.encoder.layers[0].weight for network in triple)
        assert not torch.equal(online, old)
        # The target has moved a little of the way.
        assert 0 < (target - old).norm() / (online - old).norm() < 0.1


# -- Whole -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options",
    [
        {"noise": "gaussian"},
        {"noise": "ornstein-uhlenbeck", "encoder": NORMALIZED, "n_step": 3, "max_grad_norm": 1.0},
        {**TD3, "gradient_steps": 2, "train_every": 5},
        {**TD3, "memory": "lstm", "sequence_length": 4, "burn_in": 2},
        {"memory": "transformer", "sequence_length": 4, "burn_in": 4, "n_step": 2},
    ],
    ids=["gaussian", "ornstein-uhlenbeck", "td3", "td3, lstm", "transformer"],
)
def test_learning_goes_on_exactly_from_its_parts(options):
    """State saved mid-episode, put into a fresh agent with other weights: bit-equal actions and parameters."""
    options = {"learning_starts": 10, "replay_capacity": 60} | options
    agent, fresh = make_agent(**options), make_agent(seed=99, **options)
    goes_on_exactly(agent, fresh, random_transitions(agent, num_envs=3), 17, 17)
    assert agent.updates.count > 30


@pytest.mark.parametrize("options", [{}, TD3, {"n_step": 3}], ids=str)
def test_windows_give_the_losses_of_their_transitions(options):
    agent = make_agent(memory="forgetful", sequence_length=4, **options | {"batch_size": 64})
    for vector in (agent.target_actor_vector, agent.target_critic_vector):
        vector.mul_(0.5)
    for transition in itertools.islice(random_transitions(agent, num_envs=3), 40):
        agent.replay.add(transition._replace(action=agent.bounds.scale(transition.action)))
    before = copy.deepcopy(agent.sample_generator)
    batch = agent.sample()
    loss, metrics = agent.critic_loss(batch)
    actor_loss, _ = agent.actor_loss(batch)

    windows = sample_windows(agent.replay, 16, 4, agent.config.burn_in, before)
    counts = windows.weights.ravel() > 0
    sample = agent.replay.transitions(windows.indices.ravel()[counts])
    arrays = [torch.from_numpy(x) for x in tuple(sample)[:5]]
    noise = None if batch.noise is None else batch.noise[torch.from_numpy(counts)]
    single = TransitionBatch(*arrays, torch.ones(len(arrays[0])), noise)
    expected, by_hand = agent.critic_loss(single)
    expected_actor, _ = agent.actor_loss(single)
    assert 16 * 3 < counts.sum() < 64  # some windows reach beyond the newest step
    torch.testing.assert_close(loss, expected, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(metrics["value/mean"], by_hand["value/mean"], rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(actor_loss, expected_actor, rtol=1e-5, atol=1e-6)


def run(agent, env, steps, num_envs=4):
    """Train by hand in copies of an environment that ends after a step."""
    envs = [env() for _ in range(num_envs)]
    obs = np.stack([e.reset(seed=index)[0] for index, e in enumerate(envs)])
    first, state = np.ones(num_envs, bool), agent.initial_state(num_envs)
    for _ in range(steps // num_envs):
        chosen, _ = agent.act(obs, state, first)
        next_obs, reward, ended, cut, _ = map(np.stack, zip(*map(_step, envs, chosen), strict=True))
        agent.learn(Transition(obs, chosen, reward, ended, cut, next_obs, first, state))
        obs = np.stack(
            [e.reset()[0] if end else row for e, end, row in zip(envs, ended, next_obs, strict=True)]
        )
        first = ended


def _step(env, chosen):
    return (*env.step(chosen)[:4], 0)


# By default the harder probe for one and the simpler one for the other.
@pytest.mark.parametrize(
    ("probe", "signs", "options"),
    [
        pytest.param(action, (1, 1), {}, id="action-ddpg", marks=pytest.mark.slow),
        pytest.param(action_observation, (-1, 1), {}, id="action_observation-ddpg"),
        pytest.param(action, (1, 1), TD3, id="action-td3"),
        pytest.param(action_observation, (-1, 1), TD3, id="action_observation-td3", marks=pytest.mark.slow),
    ],
)
def test_continuous_probes_are_solved(probe, signs, options):
    space = spaces.Box(-1, 1, (1,), np.float32)
    hidden = {"actor_hidden": (32, 32), "critic_hidden": (32, 32)}
    learning = {
        "learning_starts": 400,
        "batch_size": 64,
        "train_every": 2,
        "learning_rate": 2e-3,
        "noise_std": 0.3,
    }
    agent = make_agent(space, space, **hidden, **learning, **options)
    run(agent, lambda: probe(continuous=True), steps=2400)
    obs = np.float32([[0], [0]]) if signs == (1, 1) else np.float32([[-1], [1]])
    chosen, _ = agent.act(obs, agent.initial_state(2), np.ones(2, bool), explore=False)
    np.testing.assert_allclose(chosen[:, 0], 0.5 * np.array(signs), atol=0.2)
    # The action is worth its reward, 1, when it is right.
    value = agent.critic.head(torch.from_numpy(obs), torch.from_numpy(chosen))
    np.testing.assert_allclose(value.detach().numpy(), 1, atol=0.1)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # torch warns about itself when it compiles
def test_compiled_updates_equal_eager_ones():
    """One after the other in one process: what is compiled for one agent must not serve another."""
    for options in ({}, TD3, TD3 | {"target_smoothing_clip": 0.1, "max_grad_norm": 0.01}):
        agents = [make_agent(compile=compile, **options) for compile in (False, True)]
        for transition in itertools.islice(random_transitions(agents[0], num_envs=2), 10):
            for agent in agents:
                agent.learn(transition)
        eager, compiled = (vectors(agent) for agent in agents)
        for name, vector in eager.items():
            torch.testing.assert_close(compiled[name], vector, rtol=1e-4, atol=1e-5)
