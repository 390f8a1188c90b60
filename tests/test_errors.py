"""What a user reads when data, checkpoints or losses are wrong: the exact text of each error."""

import os
import pickle
from dataclasses import FrozenInstanceError, fields

import cv2
import numpy as np
import pytest
import torch
from torch import nn

from components.data.video import write_video
from registry import ConfigError, build, checkpoint
from registry.contract import Batch, CriticScores, Landmarks, MissingFieldError, Outputs, need
from registry.job import Job, load_pipeline
from registry.launch import join_processes
from registry.loading import Draws
from registry.trainee import Trainee

MODEL = {
    "type": "pipelines/pose_autoencoder",
    "rasterizer": {"type": "rasterizers/skeleton", "edges": [[0, 1]], "image_size": 16},
    "bottleneck": {
        "type": "bottlenecks/skeleton_regressor",
        "encoder": {"type": "encoders/stem", "takes": "pose_image", "out_channels": 2, "width": 2},
    },
}
PRIOR = {"type": "datasets/standin", "image_size": 16, "num_keypoints": 2, "length": 3}
CFG = {
    "model": MODEL,
    "losses": {"points": {"type": "losses/prior_points"}},
    "data": {"prior": PRIOR},
    "train": {"iterations": 1, "batch_size": 2, "lr": 1e-3},
}
POINTS = torch.zeros(2, 3, 2)
IMAGES = torch.zeros(2, 3, 8, 8)


def error_of(kind, function, *args, **kwargs):
    with pytest.raises(kind) as caught:
        function(*args, **kwargs)
    return str(caught.value)


# data


def frames(root, **arguments):
    node = {"type": "datasets/frames", "root": str(root), "image_size": 8, **arguments}
    return build(node, "data.train", "datasets")


def test_a_missing_folder_of_frames(tmp_path):
    assert error_of(ConfigError, frames, tmp_path / "x") == (
        "data.train: datasets/frames: no folder "
        f"'{tmp_path / 'x'}'. Set root= to an existing folder of images, folder of clips, or video "
        "file."
    )


def test_a_folder_without_frames(tmp_path):
    assert error_of(ConfigError, frames, tmp_path) == (
        "data.train: datasets/frames: FileNotFoundError: no image or video in folder "
        f"'{tmp_path}' or below. Set root= to a folder of images, a folder of clips, or a video "
        "file."
    )


def test_a_missing_release_of_human36m(tmp_path):
    node = {"type": "datasets/simple_h36m", "root": str(tmp_path)}
    assert error_of(ConfigError, build, node, "data.train") == (
        "data.train: datasets/simple_h36m: no sequence "
        f"in '{tmp_path}/S1/BackgroudMask'. Download human_images.tar.gz, linked from "
        "github.com/YutingZhang/lmdis-rep, and set root= to its folder with "
        "S*/WithBackground/<sequence>/<n>.jpg, S*/BackgroudMask/<sequence>/<n>.png and "
        "S*/Landmarks/<sequence>/<n>.mat."
    )


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (b"", "'{}' is empty (0 bytes). Copy or download it again, or move it away."),
        (
            b"no image",
            "'{}' cannot be decoded as an image. Copy or download it again, or move it away.",
        ),
    ],
)
def test_an_image_that_cannot_be_read(tmp_path, content, text):
    path = tmp_path / "a.png"
    path.write_bytes(content)
    dataset = frames(tmp_path, pair="same")
    assert error_of(OSError, dataset.sample, 0, np.random.default_rng(0)) == text.format(path)


def test_a_truncated_image_is_named(tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    cv2.imwrite(str(tmp_path / "a.png"), noise)
    path = tmp_path / "a.png"
    path.write_bytes(path.read_bytes()[:40])
    dataset = frames(tmp_path, pair="same")
    assert error_of(OSError, dataset.sample, 0, np.random.default_rng(0)) == (
        f"'{path}' is damaged or cut short. Copy or download it again, or move it away."
    )


def test_a_video_of_one_frame_makes_no_pair(tmp_path):
    path = tmp_path / "one.avi"
    write_video(path, [np.zeros((16, 16, 3), np.uint8)], fps=5)
    assert error_of(ConfigError, frames, path, pair="clip") == (
        f"data.train: datasets/frames: '{path}' has 1 frame; a pair "
        "needs two. Use pair='same', videos, or folders of frames."
    )
    assert len(frames(path, pair="same")) == 1


def test_an_empty_video(tmp_path):
    path = tmp_path / "one.mp4"
    path.write_bytes(b"")
    assert error_of(ConfigError, frames, path) == (
        f"data.train: datasets/frames: OSError: '{path}' is empty (0 bytes). Copy or download it "
        "again, or move it away."
    )


def test_nothing_to_train_on():
    assert error_of(ConfigError, Draws, None, None, None, 0) == (
        "data: there is nothing to train on. Add 'train', 'prior' or both."
    )


def test_a_prior_larger_than_its_data_set():
    assert error_of(ConfigError, Draws, None, build(PRIOR), 4, 0) == (
        "data.prior_size is 4, but there are 3 poses."
    )


# contract


def test_a_missing_field_names_its_producer():
    text = error_of(MissingFieldError, need, Outputs(), "render", "a pipeline with a decoder")
    assert text == (
        "Outputs.render is missing; it is produced by a pipeline with a decoder. Add that "
        "component to the config, or remove what needs it."
    )
    assert need(Batch(driving=IMAGES), "driving", "x") is IMAGES


@pytest.mark.parametrize(
    ("loss", "producer"),
    [
        (
            {"type": "losses/perceptual", "weights": "random", "width": 2},
            "a pipeline with a decoder",
        ),
        ({"type": "losses/prior_points"}, "a pipeline given data.prior"),
        ({"type": "losses/redraw"}, "a reconstruction pipeline with bottleneck_apart=True"),
        ({"type": "losses/prior_cycle"}, "a reconstruction pipeline with prior_cycle=True"),
        (
            {"type": "losses/adversarial"},
            "a pipeline with a prior or a critic, given data.prior",
        ),
    ],
)
def test_a_loss_says_what_it_misses(loss, producer):
    text = error_of(MissingFieldError, build(loss), Outputs(), Batch())
    assert f" is missing; it is produced by {producer}. Add that component" in text


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (
            lambda: Batch(driving=IMAGES[0]),
            "Batch.driving must be (B, 3, H, W), got (3, 8, 8).",
        ),
        (
            lambda: Batch(driving=IMAGES.permute(0, 2, 3, 1)),
            "Batch.driving must be (B, 3, H, W), got (2, 8, 8, 3).",
        ),
        (
            lambda: Batch(source=IMAGES, driving=IMAGES[:1]),
            "Batch.driving must be (B, 3, H, W) with B = 2, got (1, 3, 8, 8).",
        ),
        (
            lambda: Batch(keypoints=POINTS, visible=torch.ones(2, 4)),
            "Batch.visible must be (B, J) with J = 3, got (2, 4).",
        ),
        (
            lambda: Landmarks(xy=POINTS, score=torch.ones(2, 2)),
            "Landmarks.score must be (B, K) with K = 3, got (2, 2).",
        ),
        (
            lambda: Landmarks(xy=torch.zeros(2, 3, 3)),
            "Landmarks.xy must be (B, K, 2), got (2, 3, 3).",
        ),
        (
            lambda: Outputs(pose_image=IMAGES),
            "Outputs.pose_image must be (B, 1, H, W), got (2, 3, 8, 8).",
        ),
    ],
)
def test_wrong_shapes(make, text):
    assert error_of(ValueError, make) == text


def test_contract_objects_are_frozen_and_closed():
    scores = CriticScores(generator=(), fake=(), real=())
    for part in (Batch(), Outputs(), Landmarks(xy=POINTS), scores):
        with pytest.raises(FrozenInstanceError):
            setattr(part, fields(part)[0].name, POINTS)
    with pytest.raises(TypeError):
        Batch(image=IMAGES)


# training


class Constant(nn.Module):
    def __init__(self, value):
        super().__init__()
        self.value = value

    def forward(self, outputs, batch):
        return outputs.prior_landmarks.xy.sum() * 0 + self.value


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_loss_that_is_not_finite_is_named_and_changes_nothing(value):
    torch.manual_seed(0)
    pipeline = build(MODEL)
    trainee = Trainee(pipeline, {"good": Constant(1.0), "bad": Constant(value)}, ())
    losses = trainee(poses=torch.rand(2, 2, 2))
    assert error_of(FloatingPointError, trainee.parse_losses, losses) == (
        "loss_bad is not finite. The last checkpoint is from before this step. Lower train.lr, "
        "set train.clip, or check the inputs of that loss."
    )
    total, log = trainee.parse_losses({"loss_good": losses["loss_good"]})
    assert total.item() == log["loss"].item() == 1.0


def test_no_losses(tmp_path):
    assert error_of(ConfigError, Job, {**CFG, "losses": {}}, tmp_path) == (
        "losses: the section is empty. Add at least one loss."
    )


def test_init_from_a_part_that_is_not_there(tmp_path):
    cfg = {**CFG, "train": {**CFG["train"], "init": {"decoder": "other"}}}
    assert error_of(ConfigError, Job, cfg, tmp_path / "run") == (
        "train.init: the model has no part 'decoder'. Known: bottleneck, pipeline, rasterizer."
    )


def test_init_from_a_run_that_is_not_there(tmp_path):
    cfg = {**CFG, "train": {**CFG["train"], "init": {"bottleneck": "other"}}}
    assert error_of(ConfigError, Job, cfg, tmp_path / "run") == (
        f"there is no checkpoint '{tmp_path}/other/last.pth'. Train first: keypoint-zoo train "
        "CONFIG "
        f"--work-dir {tmp_path}/other"
    )


def test_an_unknown_launcher():
    assert error_of(ConfigError, join_processes, "torchrun") == (
        "--launcher: 'torchrun' must be one of none, pytorch, slurm, mpi."
    )


@pytest.mark.parametrize(
    ("launcher", "variable"),
    [("pytorch", "RANK"), ("slurm", "SLURM_PROCID"), ("mpi", "OMPI_COMM_WORLD_RANK")],
)
def test_a_launcher_that_did_not_start_the_tool(launcher, variable, monkeypatch):
    monkeypatch.delenv(variable, raising=False)
    assert error_of(ConfigError, join_processes, launcher) == (
        f"--launcher {launcher}: {variable} is not set. Start the command with that launcher."
    )


# checkpoints


def test_a_missing_checkpoint(tmp_path):
    path = tmp_path / "last.pth"
    assert error_of(ConfigError, load_pipeline, CFG, path) == (
        f"there is no checkpoint '{path}'. Train first: keypoint-zoo train CONFIG --work-dir "
        f"{tmp_path}"
    )


@pytest.mark.parametrize("content", [b"", b"no checkpoint", b"PK\x03\x04 half a zip file"])
def test_a_file_that_is_no_checkpoint(tmp_path, content):
    path = tmp_path / "last.pth"
    path.write_bytes(content)
    text = error_of(ConfigError, checkpoint.load, path)
    assert text.startswith(f"{path} cannot be read safely, so it is not loaded: ")
    assert "\n" not in text


@pytest.mark.parametrize("content", [{"state_dict": {}}, [1, 2], torch.zeros(2)])
def test_a_checkpoint_of_another_library(tmp_path, content):
    path = tmp_path / "last.pth"
    torch.save(content, path)
    assert error_of(ConfigError, checkpoint.load, path) == (
        f"{path} is not a checkpoint of keypoint-zoo: it has no 'model'."
    )


class Malicious:
    """Unpickled in the ordinary way, this creates a folder."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("write", ["torch", "pickle"])
def test_a_checkpoint_never_runs_code(tmp_path, write):
    harm, path = tmp_path / "harm", tmp_path / "last.pth"
    state = {"model": Malicious(harm)}
    if write == "torch":
        torch.save(state, path)
    else:
        path.write_bytes(pickle.dumps(state))
    text = error_of(ConfigError, checkpoint.load, path)
    assert text.startswith(f"{path} cannot be read safely, so it is not loaded: ")
    assert not harm.exists()
    pickle.loads(pickle.dumps(state))
    assert harm.is_dir()  # the attack is a real one


def test_a_checkpoint_of_another_model(tmp_path):
    path = tmp_path / "last.pth"
    state = {f"pipeline.{key}": value for key, value in build(MODEL).state_dict().items()}
    state["pipeline.bottleneck.encoder.head.weight"] = torch.zeros(9, 16, 1, 1)
    state["pipeline.decoder.weight"] = torch.zeros(1)
    del state["pipeline.bottleneck.encoder.levels.0.0.weight"]
    checkpoint.save({"model": state}, path)
    assert error_of(ConfigError, load_pipeline, CFG, path) == (
        f"{path}: the weights do not fit the model: missing "
        "bottleneck.encoder.levels.0.0.weight; unexpected decoder.weight; "
        "bottleneck.encoder.head.weight is (9, 16, 1, 1), needs (2, 16, 1, 1)."
    )


def test_a_checkpoint_survives_a_failing_write(tmp_path):
    path = tmp_path / "last.pth"
    checkpoint.save({"model": {}, "iteration": 1}, path)
    with pytest.raises(Exception, match=r"pickle|local object"):
        checkpoint.save({"model": lambda: None}, path)
    assert checkpoint.load(path)["iteration"] == 1
    assert os.listdir(tmp_path) == ["last.pth"]
