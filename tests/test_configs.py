"""configs/: literal, loadable, and each trains and evaluates on a stand-in of its shapes.

Expected parameter counts were worked out by hand from the layer tables of the paper.
"""

import ast
import json
import math
import re
from pathlib import Path

import pytest
import torch

from registry import load_config
from registry.build import build, build_model, check_arguments, resolve
from registry.contract import Batch
from registry.evaluation import evaluate
from registry.job import Job
from registry.loading import Draws, collate
from registry.trainee import Stepper
from zoo import index

CONFIGS = sorted((Path(__file__).parents[1] / "configs").glob("*.py"))
WIDTHS = ("width", "critic_width", "image_critic_width", "regressor_width")
# three scales of the patch critic need 96 pixels
SMALL = {"image_size": 96} | dict.fromkeys(WIDTHS, 4)
LITERAL = (
    *(ast.Constant, ast.Tuple, ast.List, ast.Dict, ast.Starred, ast.Name, ast.keyword),
    *(ast.BinOp, ast.UnaryOp, ast.operator, ast.unaryop, ast.expr_context),
)

BASELINE = ["encoder", "appearance_encoder", "decoder"]
FACTORIZED = [*BASELINE, "compositor"]

every_config = pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)


def nodes(cfg, place=""):
    """Every dict with a type, and where it is."""
    if isinstance(cfg, dict):
        if "type" in cfg:
            yield place, cfg
        for key, value in cfg.items():
            yield from nodes(value, f"{place}.{key}")
    elif isinstance(cfg, (list, tuple)):
        for i, value in enumerate(cfg):
            yield from nodes(value, f"{place}[{i}]")


def config(name, **numbers):
    return load_config(CONFIGS[0].parent / f"{name}.py", numbers)


def stand_in(node, size, points, seed, length=4):
    """Noise in place of a data set, also of the one that clips are cut from."""
    if "frame_dataset" in node:
        inner = stand_in(node["frame_dataset"], size, points, seed, node.get("length", length))
        flow = {"flow": "dis", "gaps": [1]} if "flow" in node else {}
        return {**node, **flow, "frame_dataset": inner}
    return {
        "type": "datasets/standin",
        "image_size": size,
        "num_keypoints": points,
        "length": length,
        "seed": seed,
    }


def on_stand_ins(path):
    """The config at a small size, as its config.json holds it, with noise for data."""
    names = {node.targets[0].id for node in ast.parse(path.read_text()).body[1:]}
    # landmarks that are discovered may be any number; those of a skeleton may not
    small = SMALL if "edges" in names else SMALL | {"num_landmarks": 4}
    if "pipelines/motion_transfer" in path.read_text():
        small = small | {"image_size": 128}  # a quarter of it is halved five times
    cfg = load_config(path, {key: value for key, value in small.items() if key in names})
    metrics = list(cfg.get("evaluate", {}).get("metrics", {}).values())
    landmarks = cfg["num_landmarks"]
    scored = [
        max(m["keypoints"]) + 1
        if m.get("keypoints")
        else len(m.get("landmarks") or range(landmarks))
        for m in metrics
        if m["type"] == "metrics/keypoint_error"
    ]
    annotated = max(scored, default=7)  # other metrics take any number
    points = {"train": landmarks, "prior": landmarks, "fit": annotated, "test": annotated}
    for seed, (split, count) in enumerate(points.items()):
        if cfg["data"].get(split):
            cfg["data"][split] = stand_in(cfg["data"][split], cfg["image_size"], count, seed)
    for metric in metrics:
        if "activities" in metric:
            metric["activities"] = ["standin"]  # names its only clip
        if metric["type"] == "metrics/lpips":
            metric["trunk"] = "random"
    for loss in cfg["losses"].values():
        if loss["type"] in ("losses/perceptual", "losses/landmark_features"):
            loss |= {"weights": "random", "width": 4}
        if loss["type"] == "losses/flow_agreement" and loss.get("weights"):
            loss |= {"weights": "random", "updates": 1}
    cfg["data"] |= {"val": None, "workers": 0}
    cfg["train"] |= {"init": {}, "iterations": 1, "batch_size": 2}
    return json.loads(json.dumps(cfg))


@every_config
def test_config_is_short_and_literal(path):
    text = path.read_text()
    assert len(text.splitlines()) <= 80
    assert re.fullmatch(r"[a-z0-9]+(_[a-z0-9]+)+", path.stem)
    tree = ast.parse(text)
    assert len(ast.get_docstring(tree)) > 40
    for statement in tree.body[1:]:
        assert isinstance(statement, ast.Assign), ast.unparse(statement)
        for node in ast.walk(statement.value):
            if isinstance(node, ast.Call):
                assert ast.unparse(node.func) == "dict", ast.unparse(node)
                assert not node.args
            else:
                assert isinstance(node, LITERAL), ast.unparse(node)


@every_config
def test_every_type_exists_and_takes_its_arguments(path):
    found = dict(nodes(load_config(path)))
    assert ".model" in found
    for place, node in found.items():
        cls = resolve(node["type"], place)
        given = {key: value for key, value in node.items() if key != "type"}
        check_arguments(cls, given, place, node["type"])


@every_config
def test_one_number_changes_every_image_size(path):
    sizes = [
        node["image_size"]
        for _, node in nodes(load_config(path, {"image_size": 64}))
        if "image_size" in node
    ]
    assert sizes
    assert set(sizes) == {64}


@every_config
def test_saved_json_is_the_same_config(path, tmp_path):
    cfg = load_config(path)
    (tmp_path / "config.json").write_text(json.dumps(cfg))
    assert load_config(tmp_path / "config.json") == json.loads(json.dumps(cfg))


@every_config
def test_what_it_starts_from_fits(path):
    cfg = load_config(path)
    for part, origin in cfg["train"].get("init", {}).items():
        name, _, source = origin.partition(":")
        first = config(name)
        assert first["data"].get("prior") == cfg["data"].get("prior")
        if "pipeline" in (part, source):  # the whole of it
            assert first["model"] == (cfg["model"] if part == "pipeline" else cfg["model"][part])
        else:
            assert first["model"][source or part] == cfg["model"][part]
            assert first["model"]["rasterizer"] == cfg["model"]["rasterizer"]


@every_config
def test_one_step_and_one_evaluation(path, tmp_path):
    cfg = on_stand_ins(path)
    job = Job(cfg, tmp_path)
    images, prior = (build(cfg["data"].get(key), "data", "datasets") for key in ("train", "prior"))
    draws = Draws(images, prior, None, seed=0)
    job.trainee.train()
    losses = job.trainee(**collate([draws[0], draws[1]]))
    found = {name for name in losses if name.startswith("loss_")}  # beside what is only shown
    assert found == {f"loss_{name}" for name in cfg["losses"]}
    total, _ = job.trainee.parse_losses(losses)  # refuses what is not finite
    total.backward()

    pipeline = job.trainee.pipeline
    trained = {name: p for name, p in pipeline.named_parameters() if p.requires_grad}
    grouped = [p for group in pipeline.parameter_groups().values() for p in group]
    assert sorted(map(id, grouped)) == sorted(map(id, trained.values()))
    for name, parameter in trained.items():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
    Stepper(torch.optim.Adam(grouped, job.settings.lr), job.settings.clip, amp=False).step()
    assert all(parameter.isfinite().all() for parameter in grouped)

    if cfg.get("evaluate"):
        # without train the mean pose is that of the prior: one point per landmark, not per keypoint
        kept = ("prior", "fit", "test")
        cfg["data"] = {key: cfg["data"][key] for key in kept if key in cfg["data"]}
        for row in evaluate(pipeline, cfg, "last"):
            missing = {name for name, value in row["baselines"].items() if value is None}
            assert missing <= set(row.get("baseline_notes", {}))  # which say why
            given = [value for name, value in row["baselines"].items() if name not in missing]
            for value in (row["value"], *given):
                assert math.isfinite(value)
                # landmarks that stand still have no jitter
                assert value > 0 or (
                    value == 0 and any(word in row["metric"] for word in ("accuracy", "jitter"))
                )


@pytest.mark.parametrize(
    ("name", "parts", "expected"),
    [
        ("keypointgan_h36m", ["encoder"], 3_124_801),  # Phi
        ("keypointgan_h36m", ["appearance_encoder", "decoder"], 4_825_635),  # Psi
        ("keypointgan_h36m", ["bottleneck"], 1_181_184),  # eta, 32 joints
        ("keypointgan_h36m", ["reference_bottleneck"], 1_181_184),
        ("keypointgan_h36m", ["prior"], 8_288_067),  # D_Y
        ("keypointgan_h36m_image_critic", ["prior_image_critic"], 12_321_153),  # D_X
        ("keypointgan_300w", ["bottleneck"], 1_190_436),  # 68 points
        ("keypointgan_h36m_full_3dhp", ["bottleneck"], 1_180_156),  # 28 joints
        ("keypointgan_cathead", ["bottleneck"], 1_174_759),  # 7 points
        ("factorized_celeba", FACTORIZED, 29_285_777),  # 10 landmarks
        ("factorized_celeba_baseline_tps", BASELINE, 18_244_461),
        ("factorized_celeba_no_mask", FACTORIZED, 29_285_777 - 5_399_489),  # no mask net
        ("factorized_h36m", FACTORIZED, 29_900_243),  # 16
        ("factorized_h36m_baseline_temp", BASELINE, 18_857_199),
        ("factorized_h36m_baseline_temp_tps", BASELINE, 18_857_199),
        ("factorized_bbc", FACTORIZED, 31_636_957),  # 30
        ("factorized-bbc-10", FACTORIZED, 29_285_777),
        ("factorized-bbc-40", FACTORIZED, 33_137_147),
        ("factorized_bbc_baseline_temp", BASELINE, 20_589_881),
        ("factorized_bbc_baseline_temp_tps", BASELINE, 20_589_881),
        ("factorized_kth", BASELINE, 22_087_191),  # 40
        ("factorized_kth", FACTORIZED, 33_137_147 - 5_408_129 + 5_358_785),  # low-resolution mask
        ("factorized_kth", ["image_critic"], 2 * 2_764_737),
        ("factorized_bair", FACTORIZED, 33_137_147),
        ("fomm_vox", ["encoder"], 14_215_368),
        ("fomm_mgif", ["encoder"], 14_215_368 - 36 * (35 * 49 + 1)),  # one map of matrices
        ("fomm_vox", ["motion"], 37_730_268),
        ("fomm_vox", ["motion", "decoder"], 45_575_391),
        ("fomm_fashion", ["image_critic"], 2_758_849),
        ("fomm_vox_adv", ["image_critic"], 2_758_849 + 10 * 16 * 64),  # ten maps of landmarks
        # the hourglass of FOMM's detector has 14 215 368 - 85 800 of its two heads
        ("monkeynet_taichi", ["encoder"], 14_129_568 + 10 * (35 * 9 + 1)),
        ("monkeynet_vox", ["encoder"], 14_132_728),
        ("monkeynet_taichi", ["motion"], 14_129_568 + 41 * 64 * 9 + 2 * 308 + 13 * (76 * 9 + 1)),
        ("monkeynet_taichi", ["decoder"], 14_129_568 + 992 * 90 + 4 * 36_720 + 3 * 46),
        ("monkeynet_taichi", ["image_critic"], 1_719_489),
        ("i2v_taichi", ["predictor"], 3_397_692),
    ],
)
def test_parameter_counts_of_the_published_sizes(name, parts, expected):
    entry = index.find(name.replace("_", "-"))
    model = load_config(entry.config, entry.options)["model"]
    with torch.device("meta"):
        built = [build(model[part], part) for part in parts]
    assert sum(p.numel() for part in built for p in part.parameters()) == expected


@pytest.mark.parametrize("size", [64, 128, 256])
def test_one_number_changes_the_resolution(size):
    pipeline = build_model(config("factorized_puppets", image_size=size))
    images = torch.rand(2, 3, size, size, generator=torch.Generator().manual_seed(0))
    outputs = pipeline(Batch(source=images, driving=images.flip(0), target=images.flip(0)))
    outputs.render.mean().backward()
    assert outputs.render.shape == images.shape
    assert outputs.layers.mask.shape == (2, 1, size, size)
    assert outputs.landmarks.prob.shape == (2, 16, size // 2, size // 2)
