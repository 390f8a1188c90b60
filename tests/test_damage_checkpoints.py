"""Checkpoints that are damaged, malformed or hostile are refused in one line, and change nothing.

A seeded fuzz of 150 of them goes through resuming, ``zoo.load`` and ``evaluate``: each loads or is
refused with a :class:`ConfigError` or :class:`ZooError`, whatever its parts hold.
"""

from __future__ import annotations

import hashlib
import io
import os
import pickle
import random
import shutil
import struct
import zipfile

import numpy as np
import pytest
import torch

import zoo
from registry import ConfigError, checkpoint, load_config
from registry.job import Job
from registry.runner import train
from zoo.errors import ZooError
from zoo.scoring import score

STEM = {"type": "encoders/stem", "takes": "pose_image", "width": 2, "out_channels": 15}
CONFIG = {
    "model": {
        "type": "pipelines/pose_autoencoder",
        "rasterizer": {"type": "rasterizers/skeleton", "edges": [[0, 1]], "image_size": 32},
        "bottleneck": {"type": "bottlenecks/skeleton_regressor", "encoder": STEM},
    },
    "losses": {"points": {"type": "losses/prior_points"}},
    "data": {
        "prior": {"type": "datasets/puppets", "split": "prior", "image_size": 32, "clips": 2},
    },
    "train": {"iterations": 2, "batch_size": 2, "lr": 1e-3, "ema": 0.9, "log_every": 0},
}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A finished run with averaged weights and the states of an optimizer."""
    folder = tmp_path_factory.mktemp("run")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    train(load_config(CONFIG), folder / "work")
    yield folder / "work"
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def state(run):
    return checkpoint.load(run / "last.pth")


@pytest.fixture
def small(tmp_path):
    """A small checkpoint of every kind of part."""
    path = tmp_path / "small.pth"
    own = {"random": checkpoint.random_state(), "buffers": {}}
    model = {f"pipeline.{i}": torch.randn(3, 4) for i in range(3)}
    parts = {"optimizer": {"state": {}, "param_groups": []}, "ranks": [own], "config": "{}"}
    checkpoint.save({"model": model, "iteration": 3, "ema_count": 0, **parts}, path)
    return path


def refused(path) -> str:
    with pytest.raises(ConfigError) as caught:
        checkpoint.load(path)
    text = str(caught.value)
    assert text.startswith(str(path))
    assert "\n" not in text
    assert "weights_only" not in text
    assert len(text) < len(str(path)) + 300
    return text


def plain(path) -> None:
    """Turn a checkpoint into one without a digest, as earlier versions wrote it."""
    torch.save(checkpoint.load(path), path)


def test_a_file_that_another_program_wrote_anew_is_refused(small):
    """Its sums fit, but nothing says that its numbers are those of the run."""
    with zipfile.ZipFile(small) as archive:
        content = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(small, "w") as archive:
        for name, data in content.items():
            archive.writestr(name, bytes(len(data)) if name.endswith("/data/0") else data)
    assert "its digest is missing" in refused(small)


def test_the_digest_is_the_sha256_of_all_that_stands_before_the_comment(small):
    data = small.read_bytes()
    digest = hashlib.sha256(data[:-84]).hexdigest()
    assert data[-84:] == b"keypoint-zoo sha256 " + digest.encode()
    with zipfile.ZipFile(small) as archive:  # a zip file for any other reader, too
        assert archive.testzip() is None
        assert archive.comment == data[-84:]
    again = torch.load(small, weights_only=True, mmap=True)
    assert torch.equal(again["model"]["pipeline.0"], checkpoint.load(small)["model"]["pipeline.0"])


def test_a_flipped_bit_is_refused_wherever_it_is(small):
    """Every byte of the last records and the comment, and 300 places before them."""
    good = small.read_bytes()
    rng = random.Random(0)
    tail = range(len(good) - 84 - 120, len(good))
    for place in [*tail, 0, 1, 2, 3, *(rng.randrange(len(good)) for _ in range(300))]:
        bad = bytearray(good)
        bad[place] ^= 1 << rng.randrange(8)
        small.write_bytes(bad)
        refused(small)
    small.write_bytes(good)
    checkpoint.load(small)


@pytest.mark.parametrize("cut", [1, 2, 20, 22, 64, 83, 84, 85, 106, 107, 1000])
def test_a_truncated_or_extended_file_is_refused(small, cut):
    good = small.read_bytes()
    small.write_bytes(good[:-cut])
    refused(small)
    for more in (b"\0" * cut, good[-cut:]):
        small.write_bytes(good + more)
        refused(small)
    small.write_bytes(b"\0" * cut + good)
    refused(small)
    small.write_bytes(good[:2000] + good[2000 + cut :])
    refused(small)


def test_a_run_of_an_earlier_version_is_accepted_after_the_sums_of_its_zip_file(small):
    plain(small)
    assert checkpoint.load(small)["iteration"] == 3
    with zipfile.ZipFile(small) as archive:
        records = archive.infolist()
    good = small.read_bytes()
    rng = random.Random(1)
    for record in records:
        name, extra = struct.unpack_from("<HH", good, record.header_offset + 26)
        start = record.header_offset + 30 + name + extra
        for _ in range(5):
            bad = bytearray(good)
            bad[start + rng.randrange(record.file_size)] ^= 1 << rng.randrange(8)
            small.write_bytes(bad)
            assert "damaged" in refused(small)
    for bad in (good[:-1], good[:-22], good[: len(good) // 2], good + b"x"):
        small.write_bytes(bad)
        refused(small)


def test_a_record_that_inflates_is_refused_before_it_does(small, tmp_path):
    """64 MB of zeros in a file of less than 1 MB."""
    for name, sealed in (("plain", False), ("sealed", True)):
        path = tmp_path / f"{name}.pth"
        with zipfile.ZipFile(small) as source, zipfile.ZipFile(path, "w") as bomb:
            for record in source.infolist():
                if record.filename.endswith("data.pkl"):
                    bomb.writestr(record.filename, source.read(record))
            with bomb.open(_deflated("archive/data/0"), "w") as out:
                for _ in range(64):
                    out.write(bytes(1 << 20))
            if sealed:
                bomb.comment = b"x" * checkpoint.LENGTH
        if sealed:
            data = path.read_bytes()[: -checkpoint.LENGTH]
            seal = checkpoint.MARK + hashlib.sha256(data).hexdigest().encode()
            path.write_bytes(data + seal)
        assert path.stat().st_size < 1_000_000
        assert "compressed" in refused(path)


def _deflated(name: str) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name)
    info.compress_type = zipfile.ZIP_DEFLATED
    return info


class Harm:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def test_a_hostile_pickle_is_refused_without_advice_to_load_it_all_the_same(tmp_path):
    path, harm = tmp_path / "a.pth", tmp_path / "harm"
    for hostile in (Harm(harm), print, torch.nn.Linear(2, 2), object(), np.zeros(3)):
        for write in (torch.save, lambda value, file: file.write_bytes(pickle.dumps(value))):
            write({"model": hostile}, path)
            text = refused(path)
            assert "allowlist" not in text
            assert "safe_globals" not in text
            assert "trust" not in text
    torch.save({"model": Harm(harm)}, path)
    assert refused(path).endswith("it asks for 'posix.mkdir', but may hold plain data only.")
    assert not harm.exists()


def test_a_refused_checkpoint_changes_nothing_in_the_run(run, state, tmp_path):
    """Weights that do not fit show before config.json is written again."""
    work = tmp_path / "work"
    shutil.copytree(run, work)
    first = next(iter(state["optimizer"]["state"]))
    moments = dict(state["optimizer"]["state"][first], exp_avg=torch.zeros(7))
    optimizer = {**state["optimizer"], "state": {**state["optimizer"]["state"], first: moments}}
    checkpoint.save({**state, "optimizer": optimizer}, work / "last.pth")
    before = {p: p.read_bytes() for p in sorted(work.rglob("*")) if p.is_file()}
    cfg = load_config(work / "config.json", {"train.log_every": 1, "train.iterations": 3})
    with pytest.raises(ConfigError, match=rf"parameter {first}: .* exp_avg is \(7,\)"):
        train(cfg, work, resume="auto")
    assert {p: p.read_bytes() for p in sorted(work.rglob("*")) if p.is_file()} == before


def test_betas_may_change_on_resuming_and_the_moments_stay(run, tmp_path):
    work = tmp_path / "work"
    shutil.copytree(run, work)
    cfg = load_config(work / "config.json", {"train.betas": (0.25, 0.5), "train.iterations": 3})
    train(cfg, work, resume="auto")
    found = checkpoint.load(work / "last.pth")["optimizer"]
    assert {tuple(group["betas"]) for group in found["param_groups"]} == {(0.25, 0.5)}
    assert {float(own["step"]) for own in found["state"].values()} == {3.0}


def test_a_numpy_state_beyond_its_end_is_refused(small):
    """NumPy itself would take it, and read memory that is not its own."""
    found = checkpoint.load(small)
    found["ranks"][0]["random"]["numpy"][2] = 10**6
    checkpoint.save(found, small)
    assert "states of the random generators of process 0 are not valid" in refused(small)


@pytest.mark.parametrize("part", ["iteration", "config", "ranks", "ema_count"])
def test_a_part_that_resuming_reads_must_be_there(part, small):
    found = checkpoint.load(small)
    del found[part]
    checkpoint.save(found, small)
    assert f"it has no '{part}'" in refused(small)


ODD = (
    None, True, -1, 10**30, 2.5, float("nan"), "", "x" * 5000, b"x", [], [None], {}, {1: 2}, (1,),
    torch.zeros(()), torch.zeros(2, 0), torch.zeros(3, dtype=torch.int64), torch.full((2,), 1e38),
    torch.zeros(2, dtype=torch.complex64), torch.zeros(3, device="meta"), torch.eye(3).to_sparse(),
    torch.zeros(1).expand(10**9), torch.tensor([float("nan")]), {"a": torch.zeros(2)}, "\x1b[31m",
    "[" * 5000, '{"model": 1}', "[]", {"a": {"a": {"a": []}}},
)  # fmt: skip


def places(node, path=()):
    """Yield the place of each part of a checkpoint."""
    if path:
        yield path
    if isinstance(node, dict):
        for key, value in node.items():
            yield from places(value, (*path, key))
    elif isinstance(node, list) and len(node) < 50:
        for index, value in enumerate(node):
            yield from places(value, (*path, index))


def changed(node, path, value, delete=False):
    """Return a copy in which one place has another value, key or nothing."""
    key, *rest = path
    node = dict(node) if isinstance(node, dict) else list(node)
    if rest:
        node[key] = changed(node[key], rest, value, delete)
    elif delete:
        del node[key]
    else:
        node[key] = value
    return node


def malformed(state):
    """Yield 150 names and checkpoints."""
    rng = random.Random(14)
    found = list(places(state))
    shallow = [place for place in found if len(place) < 3 or place[0] not in ("model", "ema")]
    near = [place for place in shallow if len(place) < 3]
    for key in state:
        yield f"no {key}", changed(state, (key,), None, delete=True)
    for number in range(150 - len(state)):
        place = rng.choice((found, shallow, near)[number % 3])
        if number % 5 == 0:
            yield f"no {place}", changed(state, place, None, delete=True)
        elif number % 5 == 1 and isinstance(place[-1], str):
            kept = changed(state, place, None, delete=True)
            odd = rng.choice((7, None, "", "x\n", (1, 2)))
            inner = kept
            for key in place[:-1]:
                inner = inner[key]
            inner[odd] = torch.zeros(1)
            yield f"{place} is called {odd!r}", kept
        else:
            value = rng.choice(ODD)
            shown = type(value).__name__ if isinstance(value, torch.Tensor) else repr(value)[:30]
            yield f"{place} = {shown}", changed(state, place, value)


def test_150_malformed_checkpoints_load_or_are_refused(run, state, tmp_path, monkeypatch):
    """Nothing but ConfigError or ZooError; most are refused."""
    # the model is not the subject: evaluation ends when everything has been read
    monkeypatch.setattr("zoo.scoring.evaluate", lambda model, *_, **__: [])
    work = tmp_path / "work"
    shutil.copytree(run, work)
    file = work / "last.pth"
    cfg = load_config(work / "config.json")
    outcomes = {"loaded": 0, "refused": 0}
    resumed = 0
    for number, (name, bad) in enumerate(malformed(state)):
        buffer = io.BytesIO()
        torch.save(bad, buffer)
        file.write_bytes(buffer.getvalue())
        uses = [lambda: zoo.load(str(file)), lambda: Job(cfg, work, file)]
        if number % 10 == 0:
            uses.append(lambda: score(str(file)))
            uses.append(lambda: zoo.load(str(work)))
        for use in uses:
            try:
                use()
            except (ConfigError, ZooError):
                outcomes["refused"] += 1
            except Exception as error:
                raise AssertionError(f"{name}: {error!r}") from error
            else:
                outcomes["loaded"] += 1
                resumed += use is uses[1]
    assert sum(outcomes.values()) == 330
    assert outcomes["refused"] > 150
    assert 0 < resumed < 40
