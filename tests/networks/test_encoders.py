"""What every encoder of pictures must do, and what is particular to some."""

import numpy as np
import pytest
import torch
from gymnasium import spaces

from palaestra.networks.encoder import VECTOR_FEATURES
from palaestra.networks.encoders.capsule import Capsule, CapsuleConfig, gather, routing_weights, squash
from palaestra.networks.encoders.cnn import CNN, CNNConfig
from palaestra.networks.encoders.impala import Impala, ImpalaConfig
from palaestra.networks.encoders.mlp import MLP, MLPConfig
from palaestra.networks.memories.none import NoMemory
from palaestra.networks.numpy_twins.acting import torso_twin
from palaestra.networks.torso import build_torso

PICTURES = [CNN, Impala, Capsule]
SHAPES = [(84, 84, 4), (4, 64, 64, 1), (10, 10, 4), (7, 7, 3), (10, 5, 1), (1, 1, 1)]


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


def pictures(*shape):
    return spaces.Box(0, 255, shape, np.uint8)


def sample(space, *lead):
    generator = np.random.default_rng(0)
    return torch.from_numpy(generator.integers(0, 256, (*lead, *space.shape), dtype=np.uint8))


def parameters(module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


every_encoder = pytest.mark.parametrize("encoder", PICTURES, ids=lambda encoder: encoder.__name__)


@every_encoder
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_sequences_are_encoded_step_by_step(encoder, shape):
    space = pictures(*shape)
    torso = build_torso(space, encoder, NoMemory)
    obs, first = sample(space, 3, 2), torch.zeros(3, 2, dtype=torch.bool)
    features, _ = torso(obs, torso.initial_state(2), first)
    assert features.shape == (3, 2, torso.size) and features.dtype == torch.float32
    assert torso.shared_by_default and torso_twin(torso) is None
    flat = torso.encoder(obs.reshape(6, *shape))
    torch.testing.assert_close(features, flat.reshape(3, 2, -1))
    alone = torch.stack([torso.encoder(row[None])[0] for row in obs.reshape(6, *shape)])
    torch.testing.assert_close(alone, flat, rtol=1e-4, atol=1e-5)


@every_encoder
@pytest.mark.parametrize("shape", [(64, 64, 3), (9, 9, 2)], ids=str)
def test_every_parameter_learns(encoder, shape):
    torso = build_torso(pictures(*shape), encoder, NoMemory)
    (torso.encoder(sample(pictures(*shape), 32)) * torch.randn(torso.size)).square().sum().backward()
    for name, parameter in torso.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().max() > 1e-6, name


@every_encoder
def test_bytes_and_floats_are_the_same_picture(encoder):
    bytes_space, float_space = pictures(12, 12, 3), spaces.Box(0, 1, (12, 12, 3), np.float32)
    one, other = build_torso(bytes_space, encoder, NoMemory), build_torso(float_space, encoder, NoMemory)
    other.load_state_dict(one.state_dict())
    obs = sample(bytes_space, 4)
    torch.testing.assert_close(one.encoder(obs), other.encoder(obs.float() / 255), rtol=1e-4, atol=1e-5)


@every_encoder
def test_the_layout_does_not_matter(encoder):
    last, first = (build_torso(pictures(*shape), encoder, NoMemory) for shape in ((12, 13, 3), (3, 12, 13)))
    first.load_state_dict(last.state_dict())
    obs = sample(pictures(12, 13, 3), 4)
    torch.testing.assert_close(
        last.encoder(obs), first.encoder(obs.movedim(-1, 1).contiguous()), rtol=1e-4, atol=1e-5
    )


@every_encoder
def test_features_begin_neither_dead_nor_huge(encoder):
    for shape in SHAPES[:-1]:
        features = build_torso(pictures(*shape), encoder, NoMemory).encoder(sample(pictures(*shape), 64))
        assert 0.05 < features.square().mean().sqrt() < 5, shape
        # What it shows depends on what it sees.
        assert features.std(0).max() > 0.005, shape


@every_encoder
def test_vectors_are_refused(encoder):
    for space in (spaces.Box(-1, 1, (4,)), spaces.Discrete(3), spaces.Dict(a=spaces.Discrete(3))):
        assert not encoder.accepts(space)
        with pytest.raises(TypeError, match=f"^encoder '{encoder.__name__.lower()}' takes pictures"):
            build_torso(space, encoder, NoMemory)


# -- Sizes by hand -----------------------------------------------------------------------------------------------


def test_the_nature_network_has_the_papers_parameters():
    torso = build_torso(pictures(4, 84, 84), CNN, NoMemory)
    first, second, third = 32 * (4 * 8 * 8 + 1), 64 * (32 * 4 * 4 + 1), 64 * (64 * 3 * 3 + 1)
    assert parameters(torso) == first + second + third + 512 * (7 * 7 * 64 + 1) == 1_684_128
    assert torso.size == 512


def test_the_small_network():
    torso = build_torso(pictures(10, 10, 4), CNN, NoMemory)
    assert parameters(torso) == 16 * (4 * 9 + 1) + 32 * (16 * 9 + 1) + 128 * (5 * 5 * 32 + 1)
    assert torso.size == 128


def test_layers_can_be_chosen():
    assert CNN(pictures(64, 64, 1), CNNConfig(layers="small", hidden=32)).size == 32
    assert CNN(pictures(36, 36, 1), CNNConfig()).size == 512
    assert CNN(pictures(35, 99, 1), CNNConfig()).size == 128
    with pytest.raises(ValueError, match="nature needs pictures of 36x36 or more, got 10x12; use small"):
        CNN(pictures(10, 12, 1), CNNConfig(layers="nature"))


def test_the_residual_network():
    torso = build_torso(pictures(64, 64, 3), Impala, NoMemory)
    sections = [
        outputs * (inputs * 9 + 1) + 4 * outputs * (outputs * 9 + 1)
        for inputs, outputs in ((3, 16), (16, 32), (32, 32))
    ]
    assert parameters(torso) == sum(sections) + 256 * (8 * 8 * 32 + 1)
    assert Impala(pictures(64, 64, 3), ImpalaConfig(channels=(4,), hidden=9)).size == 9


@pytest.mark.parametrize("shape", [(4, 84, 84), (2, 64, 64, 1)])
def test_capsules_are_small(shape):
    capsules, nature = (build_torso(pictures(*shape), encoder, NoMemory) for encoder in (Capsule, CNN))
    assert 10 * parameters(capsules) < parameters(nature)


# -- Capsules ----------------------------------------------------------------------------------------------------


def test_squash_by_hand():
    # Length 2 becomes 4 / 5, length 1 a half, length 0 stays.
    squashed = squash(torch.tensor([[1.2, 1.6], [0.0, -1.0], [0.0, 0.0]]))
    torch.testing.assert_close(squashed, torch.tensor([[0.48, 0.64], [0.0, -0.5], [0.0, 0.0]]))


def test_squash_has_gradients_everywhere():
    x = torch.tensor([[0.0, 0.0], [1e-6, 0.0], [1e4, 1e4]], requires_grad=True)
    squash(x).sum().backward()
    assert torch.isfinite(x.grad).all()


def slow_route(votes, iterations):
    """Procedure 1 of the paper, one number after the other; also the last weights."""
    num_primary, num_objects, size = votes.shape
    logits = np.zeros((num_primary, num_objects))
    for iteration in range(iterations):
        weights, objects = np.zeros_like(logits), np.zeros((num_objects, size))
        for i in range(num_primary):
            exponents = [np.exp(logits[i, j]) for j in range(num_objects)]
            for j in range(num_objects):
                weights[i, j] = exponents[j] / sum(exponents)
                objects[j] += weights[i, j] * votes[i, j]
        for j in range(num_objects):
            norm = np.sqrt((objects[j] ** 2).sum())
            objects[j] *= norm**2 / (1 + norm**2) / norm
        if iteration < iterations - 1:
            for i in range(num_primary):
                for j in range(num_objects):
                    logits[i, j] += votes[i, j] @ objects[j]
    return objects, weights


@pytest.mark.parametrize("iterations", [1, 2, 3, 5])
def test_routing_equals_a_plain_loop(iterations):
    num_types, num_places, num_objects = 2, 3, 4
    primary, matrices = (
        torch.randn(3, num_types, num_places, 5),
        torch.randn(num_objects, num_types, 5, 6) / 2,
    )
    weights = routing_weights(primary, matrices, iterations)
    objects = squash(gather(primary, weights, matrices))
    torch.testing.assert_close(weights.sum(-1), torch.ones(3, num_types, num_places))
    for n in range(3):
        votes = np.zeros((num_types * num_places, num_objects, 6))
        for t, p, j in np.ndindex(num_types, num_places, num_objects):
            votes[t * num_places + p, j] = primary[n, t, p].double() @ matrices[j, t].double()
        slow_objects, slow_weights = slow_route(votes, iterations)
        np.testing.assert_allclose(objects[n].numpy(), slow_objects, atol=1e-5)
        np.testing.assert_allclose(weights[n].flatten(0, 1).numpy(), slow_weights, atol=1e-5)


def test_capsules_are_computed_in_single_precision():
    encoder = Capsule(pictures(12, 12, 1), CapsuleConfig())
    with torch.autocast("cpu", torch.bfloat16):
        features = encoder(sample(pictures(12, 12, 1), 3))
    assert features.dtype == torch.float32


def test_capsules_know_where_something_is():
    space = pictures(16, 16, 1)
    encoder = Capsule(space, CapsuleConfig())
    obs = torch.zeros(2, *space.shape, dtype=torch.uint8)
    obs[0, 4, 4] = obs[1, 8, 8] = 255  # the same after both strides, but for the place
    one, other = encoder(obs)
    assert (one - other).abs().max() > 1e-3
    encoder.places.zero_()
    one, other = encoder(obs)
    torch.testing.assert_close(one, other)


# -- Nested observations -----------------------------------------------------------------------------------------

NESTED = spaces.Dict(
    camera=pictures(12, 12, 3),
    inner=spaces.Tuple([spaces.Discrete(4), pictures(2, 9, 9)]),
    speed=spaces.Box(-np.inf, np.inf, (2,), np.float32),
)


def nested_sample(*lead):
    generator = torch.Generator().manual_seed(0)
    return {
        "camera": sample(NESTED["camera"], *lead),
        "inner": (torch.randint(4, lead, generator=generator), sample(NESTED["inner"][1], *lead)),
        "speed": torch.randn(*lead, 2, generator=generator) * 50 + 300,
    }


@every_encoder
def test_pictures_and_vectors_side_by_side(encoder):
    torso = build_torso(NESTED, encoder, NoMemory)
    obs = nested_sample(3, 2)
    features, _ = torso(obs, torso.initial_state(2), torch.zeros(3, 2, dtype=torch.bool))
    alone = [build_torso(part, encoder, NoMemory).size for part in (NESTED["camera"], NESTED["inner"][1])]
    assert features.shape == (3, 2, sum(alone) + VECTOR_FEATURES) and torso.size == features.shape[-1]
    assert torso.shared_by_default
    features.square().sum().backward()
    assert all(parameter.grad is not None for parameter in torso.parameters())
    # Each part reaches the features, whatever the order of the keys.
    for key in obs:
        changed = obs | {key: nested_sample(4, 2)[key] if key != "inner" else None}
        changed[key] = (
            (3 - obs["inner"][0], obs["inner"][1]) if key == "inner" else torch.zeros_like(obs[key])
        )
        other, _ = torso(changed, torso.initial_state(2), torch.zeros(3, 2, dtype=torch.bool))
        assert not torch.allclose(other, features)
    reordered, _ = torso(
        dict(reversed(obs.items())), torso.initial_state(2), torch.zeros(3, 2, dtype=torch.bool)
    )
    assert torch.equal(reordered, features)


def test_vectors_beside_pictures_are_normalised():
    torso = build_torso(NESTED, CNN, NoMemory)
    obs = nested_sample(500)
    before = torso.encoder(obs)[:, -VECTOR_FEATURES:].std(0).mean()
    torso.update_statistics(obs)
    after = torso.encoder(obs)[:, -VECTOR_FEATURES:].std(0).mean()
    # 300 give or take 50 saturates a tanh; what is normalised does not.
    assert before < 0.1 and after > 0.3


def test_nested_vectors_are_one_vector():
    space = spaces.Dict(a=spaces.Discrete(3), b=spaces.Tuple([spaces.Box(-1, 1, (2,), np.float32)]))
    torso = build_torso(space, MLP, NoMemory, MLPConfig(hidden=()))
    obs = {"a": torch.tensor([[1]]), "b": (torch.tensor([[[0.5, -0.5]]]),)}
    features, _ = torso(obs, torso.initial_state(1), torch.ones(1, 1, dtype=torch.bool))
    assert features.tolist() == [[[0, 1, 0, 0.5, -0.5]]] and not torso.shared_by_default


def test_the_initial_weights_of_vectors_can_be_chosen():
    space = spaces.Box(-1, 1, (64,))
    weights = [
        MLP(space, MLPConfig(orthogonal_init=chosen)).layers[0].weight.detach() for chosen in (True, False)
    ]
    # Rows of length sqrt(2), or of 64 weights that are uniform from -1/8 to 1/8.
    lengths = [float(weight.norm(dim=1).mean()) for weight in weights]
    assert lengths == [pytest.approx(2**0.5), pytest.approx(3**-0.5, rel=0.05)]


def test_what_cannot_be_seen_beside_a_picture_is_refused():
    space = spaces.Dict(camera=pictures(12, 12, 3), words=spaces.Text(5))
    with pytest.raises(TypeError, match="encoder 'cnn' takes pictures"):
        build_torso(space, CNN, NoMemory)
