import itertools

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium import spaces

from palaestra.agents.agent import Transition
from palaestra.agents.dqn import DQN, DQNConfig
from palaestra.agents.storage.replay_batches import TransitionBatch
from palaestra.networks.encoders.mlp import MLP, MLPConfig
from palaestra.networks.q_heads import categorical_projection
from palaestra.networks.torso import build_torso

from .memories import MEMORIES
from .streams import goes_on_exactly, random_transitions

BOX = spaces.Box(-1, 1, (3,), np.float32)
SMALL = MLPConfig(hidden=(16,))
RAINBOW = {
    "dueling": True,
    "noisy": True,
    "n_step": 3,
    "prioritized": True,
    "distribution": "c51",
    "atoms": 11,
    "hidden": (8,),
}


def make_agent(
    action_space,
    obs_space=BOX,
    seed=0,
    encoder=SMALL,
    memory="none",
    compile=False,
    total_steps=10_000,
    **options,
) -> DQN:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return DQN(
            DQNConfig(**options),
            action_space,
            lambda: build_torso(obs_space, MLP, MEMORIES[memory][0], encoder, MEMORIES[memory][1]),
            seed=seed,
            total_steps=total_steps,
            device=torch.device("cpu"),
            compile=compile,
        )


def constant_networks(agent, values, target_values) -> None:
    """Make network and target give these outputs, `[A, K]` flat, whatever they see."""
    for networks, outputs in ((agent.network, values), (agent.target, target_values)):
        with torch.no_grad():
            for parameter in networks.parameters():
                parameter.zero_()
            networks.head.action_stream.layers[-1].bias.copy_(torch.tensor(outputs))


def loss_of(agent, action, reward, discount, weights=1.0, obs=None, next_obs=None):
    """Loss and metrics of one transition."""
    zeros = torch.zeros(1, 3)
    one = [torch.tensor([x]) for x in (reward, discount)]
    noise = torch.zeros(2, agent.noise_size)
    return agent.loss(
        TransitionBatch(
            zeros if obs is None else obs,
            torch.tensor([action]),
            *one,
            zeros if next_obs is None else next_obs,
            torch.tensor([weights]),
            noise,
        )
    )


# -- Stable-Baselines3 as an oracle ------------------------------------------------------------------------------


@pytest.mark.parametrize("env_id", ["CartPole-v1", "Acrobot-v1"])
def test_loss_and_gradient_equal_those_of_stable_baselines3(env_id):
    """The loss is caught inside its own `train`, on its own replay buffer."""
    sb3 = pytest.importorskip("stable_baselines3")
    env = gym.make(env_id)
    algorithm = sb3.DQN(
        "MlpPolicy",
        env,
        seed=3,
        device="cpu",
        learning_starts=200,
        target_update_interval=150,
        buffer_size=500,
        policy_kwargs={"net_arch": [32, 16]},
    )
    algorithm.learn(400)
    encoder = MLPConfig(hidden=(32, 16), activation="relu")
    agent = make_agent(
        env.action_space, env.observation_space, encoder=encoder, double=False, max_grad_norm=None
    )
    pairs = []
    for theirs, ours in ((algorithm.q_net, agent.network), (algorithm.q_net_target, agent.target)):
        layers = [layer for layer in theirs.q_net if isinstance(layer, torch.nn.Linear)]
        own = [ours.torso.encoder.layers[0], ours.torso.encoder.layers[2]]
        own.append(ours.head.action_stream.layers[0])
        for left, right in zip(layers, own, strict=True):
            right.load_state_dict(left.state_dict())
            pairs.append((left, right))

    np.random.seed(5)
    data = algorithm.replay_buffer.sample(64)
    np.random.seed(5)
    losses = []
    huber = torch.nn.functional.smooth_l1_loss
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            torch.nn.functional, "smooth_l1_loss", lambda *args: losses.append(huber(*args)) or losses[-1]
        )
        patch.setattr(torch.nn.utils, "clip_grad_norm_", lambda *args: None)
        patch.setattr(algorithm.policy.optimizer, "step", lambda: None)
        algorithm.train(gradient_steps=1, batch_size=64)

    discount = (1 - data.dones.flatten()) * algorithm.gamma
    noise = torch.zeros(2, 0)
    batch = (data.observations, data.actions.flatten(), data.rewards.flatten(), discount)
    loss, _ = agent.loss(TransitionBatch(*batch, data.next_observations, torch.ones(64), noise))
    loss.backward()

    assert loss.item() == pytest.approx(losses[0].item(), abs=1e-5)
    for left, right in pairs[:3]:
        for theirs, ours in zip(left.parameters(), right.parameters(), strict=True):
            torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-4, atol=1e-5)


# -- Targets by hand ---------------------------------------------------------------------------------------------


def test_the_network_chooses_and_the_target_values():
    """Online values (2, 1), target values (3, 8): double takes the target's value of the online choice."""
    for double, next_value in ((True, 3.0), (False, 8.0)):
        agent = make_agent(spaces.Discrete(2), double=double)
        constant_networks(agent, [2.0, 1.0], [3.0, 8.0])
        loss, metrics = loss_of(agent, action=1, reward=0.5, discount=0.9)
        error = 0.5 + 0.9 * next_value - 1.0
        assert metrics["priority"].item() == pytest.approx(error)
        assert loss.item() == pytest.approx(error - 0.5)  # Huber's loss beyond 1
        assert metrics["value/mean"].item() == pytest.approx(1.0)


def test_a_termination_has_no_next_value_and_weights_scale_the_loss():
    agent = make_agent(spaces.Discrete(2))
    constant_networks(agent, [2.0, 1.0], [3.0, 8.0])
    loss, _ = loss_of(agent, action=1, reward=0.5, discount=0.0, weights=0.25)
    assert loss.item() == pytest.approx(0.25 * 0.5 * 0.5**2)


def test_a_step_in_which_all_environments_reset_shows_nothing_to_the_normaliser():
    agent = make_agent(spaces.Discrete(2), encoder=MLPConfig(hidden=(16,), normalize=True))
    stream = random_transitions(agent, num_envs=2)
    agent.learn(next(stream))
    before = agent.network.torso.encoder.normalize.mean.clone()
    agent.learn(next(stream)._replace(valid=np.zeros(2, bool)))
    assert torch.equal(agent.network.torso.encoder.normalize.mean, before)


def test_what_is_learned_exactly_keeps_a_priority():
    """Rounding puts the divergence of some exact predictions below zero, of which no power can be taken."""
    agent = make_agent(spaces.Discrete(2), distribution="c51", value_min=0, value_max=1, prioritized=True)
    reward = torch.linspace(0, 1, 1001)
    ended, support = torch.zeros(1001), agent.network.head.support
    target = categorical_projection(torch.full((1001, 51), 1 / 51), reward, ended, support)
    outputs = (target + 1e-30).log()[:, None].expand(-1, 2, -1)
    action, weights = torch.zeros(1001, dtype=torch.long), torch.ones(1001)
    batch = TransitionBatch(None, action, reward, ended, None, weights)
    _, metrics = agent.temporal_difference(batch, outputs, outputs, outputs, None)
    assert (metrics["priority"] >= 0).all()


def test_a_categorical_target_by_hand():
    """Support -1, 0, 1. The target distribution of the chosen action sits on 1, so the target on 0 and 1."""
    agent = make_agent(spaces.Discrete(2), distribution="c51", atoms=3, value_min=-1, value_max=1)
    certain = [0.0, 0.0, 50.0]
    uniform = [0.0, 0.0, 0.0]
    constant_networks(agent, [*certain, *uniform], [*certain, *uniform])
    loss, metrics = loss_of(agent, action=1, reward=-0.5, discount=0.75)  # 1 moves to 0.25
    expected = 0.75 * np.log(0.75 * 3) + 0.25 * np.log(0.25 * 3)  # divergence from the uniform prediction
    assert loss.item() == pytest.approx(expected, abs=1e-6)
    assert metrics["priority"].item() == pytest.approx(expected, abs=1e-6)
    terminal, _ = loss_of(agent, action=1, reward=-0.5, discount=0.0)  # shared by -1 and 0
    assert terminal.item() == pytest.approx(np.log(0.5 * 3), abs=1e-6)
    # Its gradient is that of a cross-entropy: prediction minus target.
    agent.network.zero_grad()
    loss.backward()
    gradient = agent.network.head.action_stream.layers[-1].bias.grad
    np.testing.assert_allclose(gradient, [0, 0, 0, 1 / 3, 1 / 3 - 0.75, 1 / 3 - 0.25], atol=1e-6)


def test_a_quantile_target_by_hand():
    agent = make_agent(spaces.Discrete(2), distribution="quantile", atoms=2)
    # Online means 3 and 0.5: it chooses action 0, whose target quantiles are 1 and 2.
    constant_networks(agent, [3.0, 3.0, 0.0, 1.0], [1.0, 2.0, 9.0, 9.0])
    loss, _ = loss_of(agent, action=1, reward=1.0, discount=0.5)
    errors = np.array([[1.5, 2.0], [0.5, 1.0]])  # targets 1.5 and 2 minus quantiles 0 and 1
    huber = np.where(errors <= 1, errors**2 / 2, errors - 0.5)
    assert loss.item() == pytest.approx((huber * [[0.25], [0.75]]).mean(1).sum())


def test_masked_actions_are_neither_taken_nor_expected():
    """In the targets, in the best action and in random ones. Masks come with the observation."""
    space = spaces.Discrete(3)
    obs_space = spaces.Dict(obs=BOX, action_mask=spaces.MultiBinary(3))
    agent = make_agent(space, obs_space, learning_starts=0, epsilon=0.5)
    constant_networks(agent, [3.0, 2.0, 1.0], [30.0, 20.0, 10.0])

    masked = {"obs": torch.zeros(1, 3), "action_mask": torch.tensor([[0, 1, 1]], dtype=torch.int8)}
    _, metrics = loss_of(agent, action=0, reward=0.0, discount=1.0, obs=masked, next_obs=masked)
    assert metrics["priority"].item() == pytest.approx(20.0 - 3.0)

    obs = {"obs": np.zeros((2, 3), np.float32), "action_mask": np.array([[0, 1, 1], [1, 0, 0]], np.int8)}
    state, first = agent.initial_state(2), np.zeros(2, bool)
    assert agent.act(obs, state, first, explore=False)[0].tolist() == [1, 0]
    taken = np.stack([agent.act(obs, state, first)[0] for _ in range(400)])
    assert set(taken[:, 0]) == {1, 2} and set(taken[:, 1]) == {0}
    assert np.mean(taken[:, 0] == 2) == pytest.approx(0.25, abs=0.06)


# -- Time --------------------------------------------------------------------------------------------------------


def count_updates(agent, num_envs, vector_steps):
    """Gradient steps after each vector step, and the steps at which the target moved."""
    gradient_steps, target_moves = [], []
    for transition in itertools.islice(random_transitions(agent, num_envs), vector_steps):
        before = agent.target_vector.clone()
        agent.learn(transition)
        gradient_steps.append(int(agent.optimizer.count))
        if not torch.equal(before, agent.target_vector):
            target_moves.append(agent.steps.count)
    return gradient_steps, target_moves


def test_updates_are_counted_in_environment_steps():
    options = {"learning_starts": 8, "train_every": 4, "target_every": 12, "gradient_steps": 2}
    steps, moves = count_updates(make_agent(spaces.Discrete(2), **options), 1, 26)
    assert steps == [0] * 11 + [2] * 4 + [4] * 4 + [6] * 4 + [8] * 3
    assert moves == [24]  # at 12 there was nothing to copy yet
    # With eight environments a step passes two dates at once.
    steps, moves = count_updates(make_agent(spaces.Discrete(2), **options), 8, 5)
    assert steps == [0, 4, 8, 12, 16]
    assert moves == [24, 40]
    # With three the dates fall between the steps.
    steps, _ = count_updates(make_agent(spaces.Discrete(2), **options), 3, 9)
    assert steps == [0, 0, 2, 4, 4, 6, 8, 10, 10]
    as_many = options | {"gradient_steps": -1}
    steps, _ = count_updates(make_agent(spaces.Discrete(2), **as_many), 8, 3)
    assert steps == [0, 8, 16]


def test_resets_are_not_counted():
    agent = make_agent(spaces.Discrete(2), learning_starts=0, train_every=2)
    valid = np.array([True, False])
    for transition in itertools.islice(random_transitions(agent, 2), 6):
        agent.learn(transition._replace(valid=valid))
    assert agent.steps.count == 6 and int(agent.optimizer.count) == 3


def test_target_networks_copy_or_follow():
    for tau in (1.0, 0.25):
        agent = make_agent(spaces.Discrete(2), tau=tau, target_every=3, learning_starts=0, train_every=100)
        first = agent.target_vector.clone()
        with torch.no_grad():
            agent.optimizer.vector.add_(1.0)
        stream = random_transitions(agent, 6)
        agent.learn(next(stream))  # two dates in one step
        expected = first + (1 - (1 - tau) ** 2)
        torch.testing.assert_close(agent.target_vector, expected)
        if tau == 1.0:
            assert torch.equal(agent.target_vector, agent.optimizer.vector)
        # The modules compute with that vector, and the update never touches it.
        head = agent.target.head.action_stream.layers[0].weight
        assert head.data_ptr() >= agent.target_vector.data_ptr() and not head.requires_grad


def test_exploration_follows_its_schedule():
    agent = make_agent(
        spaces.Discrete(2),
        total_steps=100,
        learning_starts=10,
        epsilon="linear(0.8, 0.2, 0.5)",
        train_every=1000,
    )
    values = []
    for transition in itertools.islice(random_transitions(agent, 5), 20):
        agent.learn(transition)
        values.append(agent.epsilon)
    assert values[0] == 1.0  # warm-up
    assert values[1] == pytest.approx(0.8 - 0.6 * 10 / 50)
    assert values[9] == pytest.approx(0.2) and values[-1] == pytest.approx(0.2)


def test_random_actions_come_as_often_as_epsilon_says():
    agent = make_agent(spaces.Discrete(4), learning_starts=0, epsilon=0.4)
    constant_networks(agent, [0.0, 1.0, 0.0, 0.0], [0.0] * 4)
    obs, state, first = np.ones((5000, 3), np.float32), agent.initial_state(5000), np.ones(5000, bool)
    action, _ = agent.act(obs, state, first)
    np.testing.assert_allclose(np.bincount(action) / 5000, [0.1, 0.7, 0.1, 0.1], atol=0.02)


@pytest.mark.parametrize("options", [{}, RAINBOW])
def test_actions_without_exploration_draw_nothing(options):
    agent = make_agent(spaces.Discrete(4), **options)
    obs, state, first = np.ones((2, 3), np.float32), agent.initial_state(2), np.ones(2, bool)
    before = agent.act_generator.bit_generator.state
    actions = {tuple(agent.act(obs, state, first, explore=False)[0]) for _ in range(10)}
    assert len(actions) == 1 and agent.act_generator.bit_generator.state == before
    assert len({tuple(agent.act(obs, state, first)[0]) for _ in range(50)}) > 4


@pytest.mark.parametrize(("epsilon", "asked"), [(1.0, 0), (0.0, 3)])
def test_the_network_is_not_asked_where_every_action_is_random(epsilon, asked, monkeypatch):
    agent = make_agent(spaces.Discrete(4), learning_starts=0, epsilon=epsilon)
    values, calls = agent.values, []
    monkeypatch.setattr(agent, "values", lambda *inputs: calls.append(inputs) or values(*inputs))
    obs, state, first = np.zeros((8, 3), np.float32), agent.initial_state(8), np.ones(8, bool)
    for _ in range(3):
        agent.act(obs, state, first)
    assert len(calls) == asked


def test_noise_explores_without_epsilon():
    agent = make_agent(spaces.Discrete(4), noisy=True, learning_starts=0, epsilon=0.0)
    obs, state, first = np.ones((1, 3), np.float32), agent.initial_state(1), np.ones(1, bool)
    assert len({agent.act(obs, state, first)[0][0] for _ in range(100)}) > 1


# -- Resuming, compiling -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("options", [{}, {"tau": 0.1, "distribution": "quantile"}, RAINBOW], ids=str)
@pytest.mark.parametrize(
    "action_space", [spaces.Discrete(3, start=-1), spaces.MultiDiscrete([2, 3])], ids=str
)
def test_learning_goes_on_exactly_from_its_parts(action_space, options):
    """State put into a fresh agent with other weights gives bit-equal actions and parameters; the ring wraps."""
    go_on_from_parts(action_space, options)


@pytest.mark.parametrize("memory", ["lstm", "transformer"])
def test_learning_with_a_memory_goes_on_exactly_from_its_parts(memory):
    go_on_from_parts(
        spaces.Discrete(3), {"memory": memory, "sequence_length": 4, "burn_in": 2, "prioritized": True}
    )


@pytest.mark.parametrize(
    "options",
    [{}, {"double": False}, {"n_step": 3}, {"distribution": "c51", "atoms": 7}, {"distribution": "quantile"}],
    ids=str,
)
def test_windows_give_the_loss_of_their_transitions(options):
    agent = make_agent(spaces.Discrete(3), memory="forgetful", sequence_length=4, batch_size=64, **options)
    agent.target_vector.mul_(0.5)
    for transition in itertools.islice(random_transitions(agent, num_envs=3), 40):
        agent.replay.add(transition)
    ((batch, indices, counts),) = agent._windows(1, beta=1.0)
    loss, metrics = agent.window_loss(batch)

    sample = agent.replay.transitions(indices[counts])
    obs, action, reward, discount, next_obs = (torch.from_numpy(x) for x in tuple(sample)[:5])
    expected, by_hand = agent.loss(
        TransitionBatch(obs, action, reward, discount, next_obs, torch.ones(len(obs)), torch.zeros(2, 0))
    )
    assert 16 * 3 < len(obs) < 64  # some windows reach beyond the newest step
    torch.testing.assert_close(loss, expected, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(metrics["value/mean"], by_hand["value/mean"], rtol=1e-5, atol=1e-6)
    priority = metrics["priority"][torch.from_numpy(counts)]
    torch.testing.assert_close(priority, by_hand["priority"], rtol=1e-4, atol=1e-6)


def go_on_from_parts(action_space, options):
    options = {
        "learning_starts": 6,
        "batch_size": 8,
        "replay_capacity": 36,
        "target_every": 15,
        "encoder": MLPConfig(hidden=(16,), normalize=True),
        **options,
    }
    agent, fresh = make_agent(action_space, **options), make_agent(action_space, seed=99, **options)
    goes_on_exactly(agent, fresh, random_transitions(agent, num_envs=3), 20, 20)
    assert int(agent.optimizer.count) > 25


def test_network_and_target_share_running_statistics():
    agent = make_agent(spaces.Discrete(2), encoder=MLPConfig(normalize=True))
    agent.learn(next(random_transitions(agent, 8)))
    ours, theirs = (networks.torso.encoder.normalize for networks in (agent.network, agent.target))
    assert int(ours.count) == 8 and ours.mean is theirs.mean


@pytest.mark.slow
@pytest.mark.parametrize("options", [{}, RAINBOW], ids=["plain", "rainbow"])
def test_compiled_updates_equal_eager_ones(options):
    vectors = []
    for compile in (False, True):
        agent = make_agent(
            spaces.Discrete(3), compile=compile, learning_starts=6, batch_size=8, train_every=1, **options
        )
        stream = random_transitions(agent, 2)
        agent.act = lambda obs, state, first: (np.zeros(len(obs), int), state)
        for transition in itertools.islice(stream, 15):
            agent.learn(transition)
        vectors.append(agent.optimizer.vector)
    torch.testing.assert_close(*vectors, rtol=1e-3, atol=1e-4)


# -- Learning ----------------------------------------------------------------------------------------------------

OPTIONS = {
    "plain": {},
    "single": {"double": False},
    "dueling": {"dueling": True, "hidden": (16,)},
    "layer norm": {"layer_norm": True, "hidden": (16,)},
    "n-step": {"n_step": 3},
    "prioritized": {"prioritized": True},
    "c51": {"distribution": "c51", "atoms": 21, "value_min": -2.0, "value_max": 2.0},
    "quantile": {"distribution": "quantile", "atoms": 11},
    "noisy": {"noisy": True, "epsilon": 0.0},
    "polyak": {"tau": 0.05, "target_every": 4},
    "rainbow": RAINBOW | {"value_min": -2.0, "value_max": 2.0, "epsilon": 0.0},
}


class SignEnv:
    """Two steps: the first earns nothing, the second 1 for the action that the first observation asked for, or -1.

    So values must pass from step to step, from one observation to the next, and depend on the action.
    """

    def __init__(self, num_envs):
        self.generator = np.random.default_rng(0)
        self.time = np.zeros(num_envs, int)
        self.sign = self.generator.choice([-1, 1], num_envs)

    @property
    def obs(self):
        return np.stack([self.sign, self.time, np.ones_like(self.time)], -1).astype(np.float32)

    def play(self, agent, steps):
        first, state = np.ones(len(self.time), bool), agent.initial_state(len(self.time))
        for _ in range(steps):
            obs = self.obs
            action, _ = agent.act(obs, state, first)
            right = np.where(action == (self.sign > 0), 1.0, -1.0)
            terminated = self.time == 1
            self.time = self.time + 1
            agent.learn(
                Transition(
                    obs=obs,
                    action=action,
                    reward=np.where(terminated, right, 0.0),
                    terminated=terminated,
                    truncated=np.zeros_like(terminated),
                    next_obs=self.obs,
                    first=first,
                    state=state,
                )
            )
            self.time = np.where(terminated, 0, self.time)
            self.sign = np.where(terminated, self.generator.choice([-1, 1], len(self.sign)), self.sign)
            first = terminated


@pytest.mark.parametrize("name", OPTIONS)
def test_every_option_solves_a_probe(name):
    agent = make_agent(
        spaces.Discrete(2),
        encoder=MLPConfig(hidden=(32,), activation="relu"),
        total_steps=4800,
        learning_rate="linear(5e-3, 5e-4)",
        gamma=0.5,
        learning_starts=200,
        train_every=8,
        **{"target_every": 100, "epsilon": 0.2} | OPTIONS[name],
    )
    SignEnv(16).play(agent, 300)
    obs = np.array([[1, 1, 1], [-1, 1, 1], [1, 0, 1], [-1, 0, 1]], np.float32)
    noise = np.zeros(agent.noise_size, np.float32)
    values, _ = agent.values(obs, agent.initial_state(4), np.zeros(4, bool), noise)
    # In the last step the right action is worth 1, the other -1.
    np.testing.assert_allclose(values[0], [-1, 1], atol=0.3)
    np.testing.assert_allclose(values[1], [1, -1], atol=0.3)
    # The step before is worth gamma; but longer windows know what followed from earlier, worse actions.
    if agent.config.n_step == 1:
        np.testing.assert_allclose(values[2:], np.full((2, 2), 0.5), atol=0.3)


# -- Refusals ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"epsilon": "linear(1"}, "cannot read schedule"),
        ({"learning_rate": -1.0}, "learning_rate: must stay >= 0"),
        ({"value_min": 1.0, "value_max": 1.0}, "value_min: must be below value_max, got 1.0 and 1.0"),
        ({"gradient_steps": 0}, "gradient_steps: must be at least 1, or -1"),
    ],
)
def test_bad_configs_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        DQNConfig(**options)


def test_what_it_cannot_do_is_refused():
    with pytest.raises(TypeError, match="no action values for Box"):
        make_agent(spaces.Box(-1, 1, (2,)))


def test_planned_updates():
    config = DQNConfig(learning_starts=1000, train_every=256, gradient_steps=128)
    assert config.planned_updates(total_steps=50_000, num_envs=1) == 191 * 128
    assert DQNConfig(learning_starts=0, train_every=4, gradient_steps=-1).planned_updates(1000, 8) == 1000
