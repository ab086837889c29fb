"""A dream is a vector environment like any other; what it dreams is told by models that are known exactly."""

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces
from gymnasium.utils.env_checker import check_env
from gymnasium.vector import AutoresetMode
from gymnasium.wrappers.vector import RecordEpisodeStatistics

from palaestra.envs.autoreset import BackendEnvs
from palaestra.envs.backends.native import VectorBackend
from palaestra.envs.checking.check import check_environment
from palaestra.envs.make import EnvSpec, make_envs
from palaestra.training.baselines.vec_env import as_vec_env
from palaestra.training.imagination.dream_envs import DreamBackend
from palaestra.training.run.build import build_agent
from palaestra.training.run.collect import Collector
from palaestra.world_models.datasets import EpisodeDataset, RecordedEpisode
from palaestra.world_models.dream import Dream, DreamConfig, SingleDream, Starts, find_starts
from palaestra.world_models.dynamics.ensemble import Ensemble, EnsembleConfig
from palaestra.world_models.dynamics.mdn_rnn import MDNRNN, MDNRNNConfig
from palaestra.world_models.identity import Identity
from palaestra.world_models.world_model import Prediction, Sampling, WorldModel


class Script:
    """Shows (kind, t); the reward is 10 t + action; kind k terminates after k steps, kind 0 never does."""

    observation_space = spaces.Box(0, 255, (2,), np.float32)
    action_space = spaces.Discrete(3)
    device = torch.device("cpu")
    choices = 1

    def decode(self, latent):
        return latent

    def step(self, latent, action, state, sampling):
        after = latent + torch.tensor([0.0, 1.0])
        over = (after[:, 1] == after[:, 0]).float()
        reward = 10 * latent[:, 1] + action
        # The memory counts the steps, so that its resets can be seen.
        return Prediction(after, state + 1, reward, (over - 0.5) * 200, torch.zeros(len(latent)))


class CartPole:
    """The true simulator as a model, in float64 as Gymnasium computes it."""

    def __init__(self):
        self.env = gymnasium.make("CartPole-v1").unwrapped
        self.observation_space, self.action_space = self.env.observation_space, self.env.action_space
        self.device, self.choices = torch.device("cpu"), 1

    def decode(self, latent):
        return latent

    def step(self, latent, action, state, sampling):
        env, x = self.env, latent.double().numpy()
        force = np.where(action.numpy() == 1, env.force_mag, -env.force_mag)
        sine, cosine = np.sin(x[:, 2]), np.cos(x[:, 2])
        push = (force + env.polemass_length * x[:, 3] ** 2 * sine) / env.total_mass
        turn = (env.gravity * sine - cosine * push) / (
            env.length * (4.0 / 3.0 - env.masspole * cosine**2 / env.total_mass)
        )
        move = push - env.polemass_length * turn * cosine / env.total_mass
        after = x + env.tau * np.stack([x[:, 1], move, x[:, 3], turn], -1)
        over = (abs(after[:, 0]) > env.x_threshold) | (abs(after[:, 2]) > env.theta_threshold_radians)
        logit = torch.as_tensor(np.where(over, 100.0, -100.0))
        ones = torch.ones(len(x))
        return Prediction(torch.as_tensor(after), state, ones, logit, 0 * ones)


def scripted(num_envs=3, kinds=(0.0, 2.0, 3.0), **config):
    latent = torch.tensor([[kind, 0.0] for kind in kinds])
    return Dream(Script(), Starts(latent, torch.zeros(len(kinds), 1)), num_envs, DreamConfig(**config))


def true_cartpole(num_envs=4, horizon=500):
    starts = torch.as_tensor(np.random.default_rng(0).uniform(-0.05, 0.05, (1000, 4)))
    return Dream(CartPole(), Starts(starts, torch.zeros(1000, 0)), num_envs, DreamConfig(horizon=horizon))


def fitted(dynamics=Ensemble, config=None, **settings):
    """A model that has learned nothing, with starts from two episodes."""
    torch.manual_seed(0)
    space = spaces.Box(-np.inf, np.inf, (2,), np.float32)
    small = config or EnsembleConfig(members=3, elites=2, hidden=(8,))
    model = WorldModel(space, spaces.Box(-1, 1, (1,), np.float32), Identity, dynamics, None, small)
    rng = np.random.default_rng(0)
    arrays = [(rng.normal(size=(n + 1, 2)), rng.uniform(-1, 1, (n, 1)), np.zeros(n)) for n in (5, 7)]
    episodes = EpisodeDataset(
        [RecordedEpisode(*(part.astype(np.float32) for part in each), True) for each in arrays]
    )
    dream = DreamConfig(**settings)
    return model, episodes, Dream(model, find_starts(model, episodes, dream), 4, dream)


@pytest.mark.parametrize("dtype", [bool, np.uint8])
def test_whole_numbers_are_shown_as_the_nearest(dtype):
    class Nearly(Script):
        observation_space = spaces.Box(0, 1, (4,), dtype)

        def decode(self, latent):
            return torch.tensor([[0.11, 0.45, 0.55, 1.0]]).expand(len(latent), 4)

    dream = Dream(Nearly(), Starts(torch.zeros(2, 2), torch.zeros(2, 1)), 2)
    obs, _ = dream.reset(seed=0)
    assert obs.dtype == dtype and obs.tolist() == [[0, 0, 1, 1]] * 2


def test_every_transition_is_the_known_one():
    """The environment suite's contract: true successors, ends of both kinds, same-step resets."""
    envs = BackendEnvs(VectorBackend(scripted(horizon=5), seed=0))
    obs, first = envs.reset(), np.ones(3, bool)
    kept, lengths = [], {"terminated": [], "cut": []}
    for t in range(60):
        action = (obs.sum(-1) + t).astype(np.int64) % 3
        step = envs.step(action)
        kept += [(x, x.copy()) for x in step if isinstance(x, np.ndarray)]
        assert step.valid is None and step.reward.dtype == np.float64 and step.obs.dtype == np.float32
        for i in range(3):
            kind, age = obs[i]
            assert first[i] == (age == 0)
            assert step.next_obs[i].tolist() == [kind, age + 1]
            assert step.reward[i] == 10 * age + action[i]
            assert step.terminated[i] == (age + 1 == kind)
            assert step.truncated[i] == (age + 1 == 5)
            over = step.terminated[i] or step.truncated[i]
            assert step.first[i] == over
            assert step.obs[i].tolist()[1] == (0 if over else age + 1)
        for episode in step.episodes:
            lengths["terminated" if episode.terminated else "cut"].append(episode.length)
        obs, first = step.obs, step.first
    assert set(lengths["terminated"]) == {2, 3} and set(lengths["cut"]) == {5}
    for array, copy in kept:
        np.testing.assert_array_equal(array, copy)


def test_it_declares_how_it_resets_and_resets_memory_too():
    dream = scripted(horizon=4)
    assert dream.metadata["autoreset_mode"] is AutoresetMode.SAME_STEP
    dream.reset(seed=0)
    for _ in range(10):
        dream.step(np.zeros(3, int))
        np.testing.assert_array_equal(dream.state[:, 0], dream.latent[:, 1])
        np.testing.assert_array_equal(dream.age, dream.latent[:, 1])


def test_spaces_are_those_of_the_real_environment():
    dream = true_cartpole()
    real = gymnasium.make("CartPole-v1")
    assert dream.single_observation_space == real.observation_space
    assert dream.single_action_space == real.action_space
    obs, _ = dream.reset(seed=0)
    assert obs in dream.observation_space
    obs, reward, terminated, truncated, _ = dream.step(dream.action_space.sample())
    assert obs in dream.observation_space
    assert [x.dtype for x in (reward, terminated, truncated)] == [np.float64, bool, bool]


def test_the_true_simulator_dreams_what_really_happens():
    dream, env = true_cartpole(6), gymnasium.make("CartPole-v1").unwrapped
    obs, _ = dream.reset(seed=0)
    rng, ends = np.random.default_rng(0), 0
    for _ in range(100):
        action, before = rng.integers(0, 2, 6), dream.latent.numpy().copy()
        obs, reward, terminated, _, info = dream.step(action)
        successor = info.get("final_obs", obs)
        for i in range(6):
            env.reset()
            env.state = tuple(before[i])
            real, real_reward, real_terminated, _, _ = env.step(int(action[i]))
            np.testing.assert_allclose(successor[i] if terminated[i] else obs[i], real, rtol=1e-6)
            assert (reward[i], terminated[i]) == (real_reward, real_terminated)
        ends += terminated.sum()
    assert ends > 10


@pytest.mark.parametrize("dynamics", ["ensemble", "mdn_rnn"])
def test_dreams_follow_from_the_seed(dynamics):
    config = None if dynamics == "ensemble" else MDNRNNConfig(hidden_size=8)
    _, _, dream = fitted(Ensemble if config is None else MDNRNN, config, horizon=3)

    def play(seed):
        obs = [dream.reset(seed=seed)[0]]
        return np.stack(obs + [dream.step(np.full((4, 1), 0.5, np.float32))[0] for _ in range(10)])

    np.testing.assert_array_equal(play(0), play(0))
    assert not np.array_equal(play(0), play(1))


def test_a_dream_goes_on_where_it_was_saved():
    _, _, dream = fitted(horizon=4, member="episode")
    envs = BackendEnvs(DreamBackend(dream, seed=0))
    envs.reset()
    action = np.zeros((4, 1), np.float32)
    for _ in range(6):
        envs.step(action)
    state = envs.state_dict()
    after = [envs.step(action) for _ in range(6)]
    other = BackendEnvs(DreamBackend(fitted(horizon=4, member="episode")[2], seed=0))
    other.reset()
    other.load_state_dict(state)
    assert other.exact_resume
    for step in after:
        again = other.step(action)
        np.testing.assert_array_equal(step.obs, again.obs)
        np.testing.assert_array_equal(step.first, again.first)


def test_starts_are_real_and_their_memory_has_seen_what_came_before():
    model, episodes, _ = fitted(MDNRNN, MDNRNNConfig(hidden_size=8))
    starts = find_starts(model, episodes, DreamConfig(burn_in=3))
    assert len(starts.latent) == 12
    torch.testing.assert_close(
        starts.latent[5], model.encode(torch.as_tensor(episodes.episodes[1].obs[:1]))[0]
    )
    # The first of an episode remembers nothing, the fifth the three steps before it.
    assert not starts.state[0].any() and not starts.state[5].any()
    state = model.initial_state(1)
    with torch.no_grad():
        for t in (1, 2, 3):
            obs, action = (torch.as_tensor(x[t : t + 1]) for x in episodes.episodes[0][:2])
            state = model.step(model.encode(obs), action, state, Sampling()).state
    torch.testing.assert_close(starts.state[4], state[0])
    assert len(find_starts(model, episodes, DreamConfig(start="initial")).latent) == 2
    # One that goes on where another was cut off does not begin there.
    pieces = EpisodeDataset([episodes.episodes[0], episodes.episodes[1]._replace(opens=False)])
    (begun,) = find_starts(model, pieces, DreamConfig(start="initial")).latent
    torch.testing.assert_close(begun, model.encode(torch.as_tensor(pieces.episodes[0].obs[:1]))[0])


def test_an_end_is_drawn_or_comes_at_one_half():
    class Unsure(Script):
        def step(self, latent, action, state, sampling):
            prediction = super().step(latent, action, state, sampling)
            return prediction._replace(end_logit=torch.full((len(latent),), -np.log(3.0)))

    starts = Starts(torch.zeros(1, 2), torch.zeros(1, 1))
    shares = {}
    for kind in ("sample", "threshold"):
        dream = Dream(Unsure(), starts, 4000, DreamConfig(termination=kind))
        dream.reset(seed=0)
        shares[kind] = dream.step(np.zeros(4000, int))[2].mean()
    assert shares["sample"] == pytest.approx(0.25, abs=0.03) and shares["threshold"] == 0


def test_disagreement_costs_and_ends_a_dream():
    class Torn(Script):
        choices = 2

        def step(self, latent, action, state, sampling):
            return super().step(latent, action, state, sampling)._replace(disagreement=latent[:, 1] + 1)

    config = DreamConfig(disagreement_penalty=0.5, disagreement_limit=2.5)
    dream = Dream(Torn(), Starts(torch.zeros(1, 2), torch.zeros(1, 1)), 1, config)
    dream.reset(seed=0)
    seen = [dream.step(np.zeros(1, int))[1:4] for _ in range(3)]
    assert [reward[0] for reward, _, _ in seen] == [0 - 0.5, 10 - 1.0, 20 - 1.5]
    assert [bool(truncated[0]) for _, _, truncated in seen] == [False, False, True]
    assert not any(terminated[0] for _, terminated, _ in seen)
    with pytest.raises(ValueError, match="need an ensemble"):
        Dream(Script(), Starts(torch.zeros(1, 2), torch.zeros(1, 1)), 1, config)


def test_members_dream_for_a_step_or_for_an_episode():
    model, episodes, _ = fitted()
    with torch.no_grad():
        # Two members that say -1 and +1, without any noise.
        for parameter in model.dynamics.layers[-1].parameters():
            parameter.zero_()
        model.dynamics.layers[-1].bias[:, 0, 2:] = -100.0
        model.dynamics.lowest.fill_(-100.0)
        model.dynamics.layers[-1].bias[:2, 0, 0] = torch.tensor([-1.0, 1.0])
    signs = {}
    for kind in ("step", "episode"):
        config = DreamConfig(member=kind, horizon=1000)
        dream = Dream(model, find_starts(model, episodes, config), 50, config)
        model.heads.end_shift.fill_(float("inf"))
        rows = [dream.reset(seed=0)[0][:, 0]]
        rows += [dream.step(np.zeros((50, 1), np.float32))[0][:, 0] for _ in range(6)]
        signs[kind] = np.sign(np.diff(rows, axis=0).round(3))
    assert (signs["episode"] == signs["episode"][0]).all() and len(np.unique(signs["episode"])) == 2
    assert not (signs["step"] == signs["step"][0]).all()


def test_latents_and_tensors_on_request():
    model, episodes, _ = fitted()
    starts = find_starts(model, episodes, DreamConfig())
    dream = Dream(model, starts, 4, observation="latent", tensors=True)
    obs, _ = dream.reset(seed=0)
    assert isinstance(obs, torch.Tensor)
    result = dream.step(torch.zeros(4, 1))
    assert all(isinstance(x, torch.Tensor) for x in result[:4])
    with pytest.raises(ValueError, match="there are decoded, latent"):
        Dream(model, starts, 4, observation="raw")


@pytest.mark.filterwarnings("ignore:.*minimum value is -infinity", "ignore:.*maximum value is infinity")
@pytest.mark.parametrize("make", [lambda: fitted()[2], true_cartpole])
def test_gymnasium_takes_it_for_an_environment(make):
    dream = make()
    single = SingleDream(Dream(dream.model, dream.starts, 1, dream.config))
    check_env(single, skip_render_check=True)
    recorded = RecordEpisodeStatistics(make())
    recorded.reset(seed=0)
    recorded.action_space.seed(0)
    for _ in range(250):
        recorded.step(recorded.action_space.sample())
    assert len(recorded.length_queue) >= 4 and min(recorded.length_queue) >= 1


def test_our_checks_find_nothing_wrong(register):
    def entry_point():
        return SingleDream(true_cartpole(1))

    def vector_entry_point(num_envs):
        return true_cartpole(num_envs)

    register("Dream/CartPole-v0", entry_point, vector_entry_point=vector_entry_point)
    report = check_environment("Dream/CartPole-v0")
    assert report.ok and not report.warnings, (report.errors, report.warnings)
    envs = make_envs(EnvSpec("Dream/CartPole-v0", 4, seed=0, backend="vector"))
    envs.reset()
    assert sum(len(envs.step(np.zeros(4, int)).episodes) for _ in range(30)) >= 8


def test_a_step_before_a_reset_is_refused():
    with pytest.raises(gymnasium.error.ResetNeeded):
        scripted().step(np.zeros(3, int))
    with pytest.raises(ValueError, match="needs one dream"):
        SingleDream(scripted())


def test_stable_baselines3_trains_in_a_dream():
    stable_baselines3 = pytest.importorskip("stable_baselines3")
    envs = as_vec_env(true_cartpole(4, horizon=20))
    envs.seed(3)
    obs = envs.reset()
    envs.seed(3)
    np.testing.assert_array_equal(obs, envs.reset())
    ends = {True: 0, False: 0}
    for _ in range(60):
        # Environments 0 and 1 push one way until they fall, the others balance until they are cut off.
        action = np.where(np.arange(4) < 2, 0, obs[:, 2] + obs[:, 3] > 0).astype(int)
        obs, reward, done, infos = envs.step(action)
        assert reward.dtype == np.float32
        for i in np.flatnonzero(done):
            cut = infos[i]["TimeLimit.truncated"]
            assert (abs(infos[i]["terminal_observation"][2]) > 0.2095) != cut
            assert abs(obs[i]).max() <= 0.05
            ends[cut] += 1
    assert ends[True] >= 6 and ends[False] >= 6
    model = stable_baselines3.PPO("MlpPolicy", envs, n_steps=32, batch_size=64, n_epochs=1, device="cpu")
    model.learn(128)
    assert model.num_timesteps == 128


@pytest.mark.slow
def test_a_dream_of_the_true_simulator_teaches_what_the_real_environment_does(small_config):
    """Steps until a sequence of 20 training episodes reaches a mean of 150, real against dreamt, five seeds each."""
    agent = {"rollout_length": 128, "batch_size": 256, "epochs": 8, "learning_rate": 0.001, "gamma": 0.98}
    needed: dict[str, list[int]] = {"real": [], "dream": []}
    for seed in range(5):
        config = small_config(agent=agent, seed=seed, num_envs=8, steps=100_000, compile="off")
        sources = {
            "real": lambda seed=seed: make_envs(EnvSpec("CartPole-v1", 8, seed=seed)),
            "dream": lambda seed=seed: BackendEnvs(DreamBackend(true_cartpole(8), seed)),
        }
        for name, make in sources.items():
            envs = make()
            learner = build_agent(config, envs.observation_space, envs.action_space)
            collector, returns, steps = Collector(learner, envs), [], 0
            while steps < 100_000 and (len(returns) < 20 or np.mean(returns[-20:]) < 150):
                transition, episodes = collector.step()
                learner.learn(transition)
                returns += [episode.episode_return for episode in episodes]
                steps += transition.num_steps
            needed[name].append(steps)
    assert max(needed["real"] + needed["dream"]) < 100_000
    # Welch's t-test by hand: |t| beyond 3.4 has a probability below 1 % with 8 degrees of freedom.
    logs = [np.log(values) for values in needed.values()]
    error = np.sqrt(sum(x.var(ddof=1) / len(x) for x in logs))
    assert abs(logs[0].mean() - logs[1].mean()) / error < 3.4
