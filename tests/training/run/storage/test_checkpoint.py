"""A checkpoint is whole or not there, and comes back exactly."""

import json
import math
import shutil
import subprocess
import sys

import numpy as np
import pytest
import torch

from palaestra.agents.storage.replay import Replay
from palaestra.training.run.storage import checkpoint as module
from palaestra.training.run.storage.checkpoint import (
    MANIFEST,
    STATE,
    TENSORS,
    CheckpointCorruptError,
    latest_checkpoint,
    list_checkpoints,
    load_checkpoint,
    save_checkpoint,
)
from palaestra.training.settings.usage import UsageError

FILES = (TENSORS, STATE, MANIFEST)


class Box:
    """A part that holds whatever it is given."""

    def __init__(self, value=None):
        self.value = value

    def state_dict(self):
        return {"value": self.value}

    def load_state_dict(self, state):
        self.value = state["value"]


def round_trip(folder, value):
    loaded = Box()
    load_checkpoint(save_checkpoint(folder, 1, {"box": Box(value)}), {"box": loaded})
    return loaded.value


def steps(folder) -> list[int]:
    return [int(path.name) for path in list_checkpoints(folder)]


def damage(path):
    (path / STATE).write_text("{}")


# -- Round trips ----------------------------------------------------------------------------------------------------


def same(a, b) -> bool:
    """Equal in type and value, to the last bit."""
    if type(a) is not type(b):
        return False
    if isinstance(a, dict):
        return list(a) == list(b) and all(same(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(same(x, y) for x, y in zip(a, b, strict=True))
    if isinstance(a, torch.Tensor):
        return a.dtype == b.dtype and a.shape == b.shape and torch.equal(a, b)
    if isinstance(a, np.ndarray | np.generic):
        return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()
    return a == b or (isinstance(a, float) and math.isnan(a) and math.isnan(b))


PLAIN = [
    *[None, True, False, 0, 1, -1, 2**127 + 1, 0.1, -0.0, 5e-324, 1e308, math.nan, math.inf, -math.inf],
    *["", "text", "é\n\x00\ud800", [], (), {}, [1, [2, (3,)]], (1, "a", None)],
    *[{"a": {"b": 1}}, {1: "a", 2: {3: "b"}}, {"1": "a", 1: "b"}, {True: 0}, {(1, 2): [3]}],
    *[{"__tensor__": "x"}, {"__tuple__": [1]}, {"__items__": []}, {"b": 1, "a": 2}],
]


@pytest.mark.parametrize("value", PLAIN, ids=repr)
def test_plain_values_come_back_exactly(tmp_path, value):
    assert same(round_trip(tmp_path, value), value)


DTYPES = [
    *["bool", "uint8", "uint16", "uint32", "uint64", "int8", "int16", "int32", "int64"],
    *["float16", "float32", "float64", "complex64"],
]


@pytest.mark.parametrize("dtype", DTYPES)
def test_arrays_of_every_kind_come_back_exactly(tmp_path, dtype):
    base = np.arange(24).reshape(4, 6).astype(dtype)
    arrays = [
        base,
        base[:, ::2],
        base.T,
        base[::-1],
        base[0, 0],
        base.reshape(())[()] if base.size == 1 else base[:0],
    ]
    arrays += [np.array(base[1, 1]), np.broadcast_to(base[0], (3, 6))]
    for array, loaded in zip(arrays, round_trip(tmp_path, arrays), strict=True):
        assert same(loaded, array)


@pytest.mark.parametrize("dtype", [*DTYPES, "bfloat16"])
def test_tensors_of_every_kind_come_back_exactly(tmp_path, dtype):
    base = torch.arange(24).reshape(4, 6).to(getattr(torch, dtype))
    tensors = [base, base[:, ::2], base.T, base[0, 0], base[:0], base[0].expand(3, 6)]
    for tensor, loaded in zip(tensors, round_trip(tmp_path, tensors), strict=True):
        assert same(loaded, tensor)


def test_not_a_bit_of_a_float_is_lost(tmp_path):
    bits = np.random.default_rng(0).integers(0, 2**32, 1000, dtype=np.uint32)
    bits[:4] = 0x7FC00001, 0x7F800000, 0x80000000, 0x00000001  # NaN with payload, infinity, -0, subnormal
    assert round_trip(tmp_path, bits.view(np.float32)).tobytes() == bits.tobytes()


def test_views_of_one_vector_are_stored_each(tmp_path):
    vector = torch.arange(6.0)
    value = {
        "vector": vector,
        "head": vector[:2],
        "tail": vector[2:],
        "again": vector,
        "array": vector.numpy(),
    }
    loaded = round_trip(tmp_path, value)
    assert same(loaded, value)
    loaded["head"][0] = 9
    assert loaded["vector"][0] == 0


def test_slashes_in_keys_do_not_mix_tensors_up(tmp_path):
    value = {
        "a/b": torch.zeros(2),
        "a": {"b": torch.ones(2)},
        "": {"": np.ones(3)},
        "loss/policy": torch.tensor(2.0),
    }
    assert same(round_trip(tmp_path, value), value)


def test_loaded_arrays_can_be_written_and_do_not_hold_the_file(tmp_path):
    loaded = round_trip(tmp_path, {"array": np.arange(5.0), "tensor": torch.arange(5)})
    loaded["array"][:] = 7
    loaded["tensor"][:] = 7
    again = Box()
    load_checkpoint(latest_checkpoint(tmp_path), {"box": again})
    assert again.value["array"].tolist() == [0, 1, 2, 3, 4]
    assert again.value["tensor"].tolist() == [0, 1, 2, 3, 4]
    if sys.platform == "linux":
        with open("/proc/self/maps") as maps:
            assert str(tmp_path) not in maps.read()


def test_saving_does_not_touch_what_is_saved(tmp_path):
    array, tensor = np.arange(6.0), torch.arange(6.0, requires_grad=True)
    save_checkpoint(tmp_path, 1, {"box": Box([array, tensor])})
    assert array.tolist() == [0, 1, 2, 3, 4, 5] and tensor.requires_grad


@pytest.mark.parametrize("kind", [np.random.PCG64, np.random.MT19937, np.random.Philox, np.random.SFC64])
def test_generators_go_on_where_they_were(tmp_path, kind):
    ours, other = np.random.Generator(kind(1)), np.random.Generator(kind(2))
    ours.standard_normal(3, dtype=np.float32)  # leaves half a draw behind in some
    path = save_checkpoint(tmp_path, 1, {"generator": ours})
    expected = ours.random(5).tolist(), ours.integers(0, 100, 3, dtype=np.uint8).tolist()
    load_checkpoint(path, {"generator": other})
    assert (other.random(5).tolist(), other.integers(0, 100, 3, dtype=np.uint8).tolist()) == expected


def test_torch_generators_go_on_where_they_were(tmp_path):
    ours, other = torch.Generator().manual_seed(1), torch.Generator().manual_seed(2)
    torch.rand(3, generator=ours)
    path = save_checkpoint(tmp_path, 1, {"generator": ours})
    expected = torch.rand(5, generator=ours)
    load_checkpoint(path, {"generator": other})
    assert torch.equal(torch.rand(5, generator=other), expected)


def test_a_module_and_its_optimizer_go_on_where_they_were(tmp_path):
    def make():
        network = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Tanh(), torch.nn.Linear(4, 1))
        return network, torch.optim.Adam(network.parameters(), 0.01)

    def learn(network, optimizer):
        optimizer.zero_grad()
        network(torch.ones(2, 3)).sum().backward()
        optimizer.step()

    ours, other = make(), make()
    learn(*ours)
    path = save_checkpoint(tmp_path, 1, {"network": ours[0], "optimizer": ours[1]})
    load_checkpoint(path, {"network": other[0], "optimizer": other[1]})
    learn(*ours)
    learn(*other)
    assert all(torch.equal(a, b) for a, b in zip(ours[0].parameters(), other[0].parameters(), strict=True))


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        (np.array([None]), "ndarray of object"),
        (np.zeros(2, "M8[s]"), "ndarray of datetime64"),
        (np.zeros(2, ">f4"), "ndarray of >f4"),
        (np.zeros(2, complex), "ndarray of complex128"),
        (np.zeros(2, [("a", int)]), "ndarray of"),
        (np.str_("x"), "ndarray of <U1"),
        (torch.eye(2).to_sparse(), "Tensor of torch.float32"),
        (object(), "object"),
        (b"bytes", "bytes"),
        ({1, 2}, "set"),
        (lambda: None, "function"),
    ],
)
def test_what_has_no_place_is_refused_with_its_path(tmp_path, value, kind):
    save_checkpoint(tmp_path, 1, {"box": Box(1)})
    with pytest.raises(TypeError, match=r"box/value/inner/1: a checkpoint cannot hold") as caught:
        save_checkpoint(tmp_path, 2, {"box": Box({"inner": [0, value]})})
    assert kind in str(caught.value)
    assert steps(tmp_path) == [1]
    load_checkpoint(latest_checkpoint(tmp_path), {"box": Box()})


# -- Parts ----------------------------------------------------------------------------------------------------------


def test_parts_that_do_not_fit_are_named(tmp_path):
    path = save_checkpoint(tmp_path, 1, {"a": Box(1), "b": Box(2)})
    with pytest.raises(UsageError, match=r"does not fit: it lacks c, d$"):
        load_checkpoint(path, {"a": Box(), "c": Box(), "d": Box()})
    with pytest.raises(UsageError, match="does not fit: it holds b, which this run has not"):
        load_checkpoint(path, {"a": Box()})
    only = Box()
    load_checkpoint(path, {"a": only}, only_these=True)
    assert only.value == 1


def test_a_part_of_another_shape_is_one_line(tmp_path):
    path = save_checkpoint(tmp_path, 1, {"network": torch.nn.Linear(3, 4)})
    with pytest.raises(UsageError, match=r"does not fit network: .*size mismatch") as caught:
        load_checkpoint(path, {"network": torch.nn.Linear(5, 4)})
    assert "\n" not in str(caught.value)
    path = save_checkpoint(tmp_path, 2, {"generator": np.random.Generator(np.random.MT19937(1))})
    with pytest.raises(UsageError, match="does not fit generator"):
        load_checkpoint(path, {"generator": np.random.default_rng(0)})


# -- Damage ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def saved(tmp_path):
    return save_checkpoint(tmp_path, 1, {"box": Box({"x": torch.arange(4.0), "n": 3, "name": "abc"})})


def refused(path) -> str:
    part = Box("untouched")
    with pytest.raises(CheckpointCorruptError) as caught:
        load_checkpoint(path, {"box": part})
    assert part.value == "untouched"
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("name", FILES)
def test_a_flipped_bit_anywhere_is_found(saved, name):
    whole = (saved / name).read_bytes()
    for position in range(len(whole)):
        broken = bytearray(whole)
        broken[position] ^= 1 << position % 8
        (saved / name).write_bytes(broken)
        refused(saved)
    (saved / name).write_bytes(whole)
    load_checkpoint(saved, {"box": Box()})


@pytest.mark.parametrize("name", FILES)
def test_a_file_cut_short_is_found(saved, name):
    whole = (saved / name).read_bytes()
    for length in range(0, len(whole), 7):
        (saved / name).write_bytes(whole[:length])
        refused(saved)
    (saved / name).write_bytes(whole + b" ")
    refused(saved)


@pytest.mark.parametrize("name", FILES)
def test_a_missing_file_is_found(saved, name):
    (saved / name).unlink()
    assert name in refused(saved)


@pytest.mark.parametrize(
    "text", ["", "[]", "3", "null", "{}", '{"schema": "x"}', '{"schema": 1}', '{"schema": null}']
)
def test_a_manifest_that_is_none_is_found(saved, text):
    (saved / MANIFEST).write_text(text)
    refused(saved)


def sealed_again(path, change):
    manifest = json.loads((path / MANIFEST).read_text())
    del manifest["seal"]
    change(manifest)
    (path / MANIFEST).write_text(module._sealed(manifest))


def test_a_wrong_hash_is_found(saved):
    sealed_again(saved, lambda manifest: manifest["sha256"].update({TENSORS: "0" * 64}))
    assert f"{TENSORS} has changed" in refused(saved)


def test_the_format_before_the_seal_can_still_be_read(saved):
    manifest = json.loads((saved / MANIFEST).read_text())
    del manifest["seal"]
    (saved / MANIFEST).write_text(json.dumps(manifest | {"schema": 1}))
    loaded = Box()
    load_checkpoint(saved, {"box": loaded})
    assert loaded.value["n"] == 3
    (saved / STATE).write_text("{}")
    assert "has changed" in refused(saved)


def test_a_newer_format_is_refused(saved):
    sealed_again(saved, lambda manifest: manifest.update(schema=module.SCHEMA + 1))
    assert "update palaestra" in refused(saved)


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        ("../../elsewhere", "there is no tensor '../../elsewhere'"),
        (None, "nothing refers to tensor 'box/value/x'"),
    ],
)
def test_tensors_and_their_names_must_match(saved, reference, message):
    state = json.loads((saved / STATE).read_text())
    state["box"]["value"]["x"] = None if reference is None else {"__tensor__": reference}
    (saved / STATE).write_text(json.dumps(state))
    sealed_again(saved, lambda manifest: manifest["sha256"].update({STATE: module._sha256(saved / STATE)}))
    assert message in refused(saved)


def test_nothing_is_unpickled(saved):
    source = (module.__file__,)
    for path in source:
        with open(path) as file:
            text = file.read()
        assert not any(
            word in text for word in ("import pickle", "torch.load", "torch.save", "allow_pickle", "eval(")
        )


# -- Rotation -------------------------------------------------------------------------------------------------------


def test_only_the_newest_are_kept(tmp_path):
    for step in (5, 10, 999_999_999, 1_000_000_000):  # ten digits sort before nine as text
        save_checkpoint(tmp_path, step, {"box": Box(step)}, keep=2)
    assert steps(tmp_path) == [999_999_999, 1_000_000_000]
    assert latest_checkpoint(tmp_path).name == "1000000000"
    with pytest.raises(ValueError, match="keep must be at least 1"):
        save_checkpoint(tmp_path, 2, {}, keep=0)


def test_damaged_checkpoints_are_skipped_with_a_warning(tmp_path, capsys):
    for step in (1, 2, 3):
        save_checkpoint(tmp_path, step, {"box": Box(step)}, keep=3)
    damage(tmp_path / "checkpoints" / "000000003")
    assert latest_checkpoint(tmp_path).name == "000000002"
    warnings = capsys.readouterr().err.splitlines()
    assert len(warnings) == 1 and "000000003" in warnings[0] and warnings[0].startswith("warning: ")


@pytest.mark.parametrize("keep", [1, 2])
def test_damaged_checkpoints_never_push_a_good_one_out(tmp_path, keep):
    for step in (100, 200, 300):
        save_checkpoint(tmp_path, step, {"box": Box(step)}, keep=3)
    for step in (200, 300):
        damage(tmp_path / "checkpoints" / f"{step:09d}")
    save_checkpoint(tmp_path, 150, {"box": Box(150)}, keep=keep)
    assert latest_checkpoint(tmp_path).name == "000000150"
    save_checkpoint(tmp_path, 300, {"box": Box(300)}, keep=keep)  # replaces the damaged one
    assert latest_checkpoint(tmp_path).name == "000000300"


def test_a_step_saved_twice_is_the_second_one(tmp_path):
    save_checkpoint(tmp_path, 1, {"box": Box("first")})
    loaded = Box()
    load_checkpoint(save_checkpoint(tmp_path, 1, {"box": Box("second")}), {"box": loaded})
    assert loaded.value == "second" and steps(tmp_path) == [1]


def test_leftovers_are_never_loaded_and_are_removed(tmp_path):
    first = save_checkpoint(tmp_path, 1, {"box": Box(1)})
    for name in ("000000002.tmp", "000000003.old.tmp"):
        shutil.copytree(first, first.parent / name)
    assert latest_checkpoint(tmp_path) == first
    save_checkpoint(tmp_path, 2, {"box": Box(2)})
    assert sorted(path.name for path in first.parent.iterdir()) == ["000000001", "000000002"]


def test_no_checkpoint_at_all(tmp_path):
    with pytest.raises(UsageError, match="has no checkpoint to go on from"):
        latest_checkpoint(tmp_path)
    damage(save_checkpoint(tmp_path, 1, {"box": Box(1)}))
    with pytest.raises(UsageError, match=r"has no checkpoint to go on from: .*state.json has changed"):
        latest_checkpoint(tmp_path)


# -- Writing --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "error", [OSError(28, "No space left on device"), PermissionError(13, "Permission denied")]
)
@pytest.mark.parametrize("place", ["save_file", "_sha256", "_sync"])
def test_a_write_that_fails_leaves_the_old_checkpoint(tmp_path, monkeypatch, place, error):
    save_checkpoint(tmp_path, 1, {"box": Box(1)})

    def fail(*arguments):
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(module, place, fail)
        with pytest.raises(
            OSError, match=r"cannot write .*000000002, older checkpoints are as they were"
        ) as caught:
            save_checkpoint(tmp_path, 2, {"box": Box(2)})
    assert error.strerror in str(caught.value)
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["000000001"]
    loaded = Box()
    load_checkpoint(latest_checkpoint(tmp_path), {"box": loaded})
    assert loaded.value == 1


FULL_DISK = """
import resource, signal, sys
from pathlib import Path
import numpy as np
from palaestra.training.run.storage.checkpoint import save_checkpoint
class Box:
    def __init__(self, size): self.size = size
    def state_dict(self): return {"x": np.zeros(self.size)}
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
save_checkpoint(Path(sys.argv[1]), 1, {"box": Box(10)})
try:
    save_checkpoint(Path(sys.argv[1]), 2, {"box": Box(1_000_000)})
except OSError as error:
    print(error)
"""


def test_a_file_that_cannot_grow_leaves_the_old_checkpoint(tmp_path):
    """The limit stands for a full disk: it fails in the middle of the real write, below Python."""
    done = subprocess.run(
        [sys.executable, "-c", FULL_DISK, tmp_path], capture_output=True, text=True, check=True
    )
    assert "cannot write" in done.stdout and "File too large" in done.stdout
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["000000001"]
    assert latest_checkpoint(tmp_path).name == "000000001"


def test_files_and_folders_are_synced_before_and_after_the_rename(tmp_path, monkeypatch):
    synced = []
    monkeypatch.setattr(module, "_sync", lambda path: synced.append(path.relative_to(tmp_path).as_posix()))
    save_checkpoint(tmp_path, 1, {"box": Box(1)})
    temporary = "checkpoints/000000001.tmp"
    assert sorted(synced[:4]) == [temporary, *(f"{temporary}/{name}" for name in sorted(FILES))]
    assert synced[3:] == [temporary, "checkpoints", "."]


KILLER = """
import itertools, os, random, signal, sys, time
from pathlib import Path
import numpy as np
from palaestra.training.run.storage.checkpoint import latest_checkpoint, load_checkpoint, save_checkpoint

class Box:
    def __init__(self, step=None): self.step = step
    def state_dict(self): return {"step": self.step, "x": np.full(100_000, self.step)}
    def load_state_dict(self, state): self.step, self.x = state["step"], state["x"]

def save_for_ever(run_dir, first, announce):
    for step in itertools.count(first):
        save_checkpoint(run_dir, step, {"box": Box(step)}, keep=1)
        os.write(announce, b"%d\\n" % step)

run_dir, delays, leftovers, saved = Path(sys.argv[1]), random.Random(0), 0, 0
for _ in range(30):
    heard, announce = os.pipe()
    child = os.fork()
    if child == 0:
        save_for_ever(run_dir, saved + 1, announce)
    os.close(announce)
    os.read(heard, 100)  # one checkpoint at least is there
    time.sleep(delays.uniform(0, 0.02))
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    os.close(heard)
    leftovers += any((run_dir / "checkpoints").glob("*.tmp"))
    path, box = latest_checkpoint(run_dir), Box()
    load_checkpoint(path, {"box": box})
    assert box.step == int(path.name) > saved
    assert np.array_equal(box.x, np.full(100_000, box.step))
    saved = box.step
print(leftovers)
"""


def test_a_kill_while_saving_never_costs_the_last_checkpoint(tmp_path):
    command = [sys.executable, "-c", KILLER, tmp_path]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stderr
    assert "warning" not in done.stderr
    assert int(done.stdout) > 0, "no kill fell into a write"


def test_whatever_is_called_tmp_does_not_keep_a_checkpoint_from_being_saved(tmp_path):
    folder = tmp_path / "checkpoints"
    (folder / "folder.tmp").mkdir(parents=True)
    (folder / "file.tmp").touch()
    (tmp_path / "outside").touch()
    (folder / "000000001.tmp").symlink_to(tmp_path / "outside")
    save_checkpoint(tmp_path, 1, {"box": Box(1)})
    assert [path.name for path in folder.iterdir()] == ["000000001"] and (tmp_path / "outside").exists()


def test_a_checkpoint_of_another_step_or_run_is_refused(tmp_path):
    for name in ("one", "other"):
        (tmp_path / name).mkdir()
        module.give_identity(tmp_path / name)
        save_checkpoint(tmp_path / name, 5, {"box": Box(1)})
    taken = tmp_path / "one" / "checkpoints" / "000000006"
    shutil.copytree(tmp_path / "one" / "checkpoints" / "000000005", taken)
    with pytest.raises(UsageError, match="is the checkpoint of step 5"):
        load_checkpoint(taken, {"box": Box(0)})
    shutil.rmtree(taken)
    shutil.rmtree(tmp_path / "one" / "checkpoints" / "000000005")
    taken = shutil.copytree(
        tmp_path / "other" / "checkpoints" / "000000005", tmp_path / "one" / "checkpoints" / "000000005"
    )
    with pytest.raises(UsageError, match="is a checkpoint of another run"):
        load_checkpoint(taken, {"box": Box(0)})


@pytest.mark.parametrize("copies", [False, True])
def test_a_part_that_copies_its_state_gets_no_copy(copies, tmp_path, monkeypatch):
    """A replay memory would be held twice while a run is resumed: more than there was room for when it trained."""

    class Large:
        copies_state = copies

        def state_dict(self):
            return {"rows": np.arange(1000)}

        def load_state_dict(self, state):
            self.rows = state["rows"].copy()

    path, copied = save_checkpoint(tmp_path, 1, {"large": Large()}), []
    clone = torch.Tensor.clone
    monkeypatch.setattr(torch.Tensor, "clone", lambda tensor: copied.append(1) or clone(tensor))
    part = Large()
    load_checkpoint(path, {"large": part})
    assert len(copied) == (0 if copies else 1) and part.rows.tolist() == list(range(1000))
    assert Replay.copies_state
