"""A part in the wrong place is refused when the config is built, with the place and what to do."""

from __future__ import annotations

import pytest
import torch

import registry
from registry import ROLES, ConfigError, build, load_config
from registry.build import slots_of
from registry.contract import Outputs
from registry.job import Job
from registry.protocols import defaults_of, role_of
from registry.wiring import check_losses
from tests.runs import write_config
from tests.test_components import EXAMPLES

NAMES = sorted(EXAMPLES)
ONE_OF = {  # a sound part of every role
    role: next(name for name in NAMES if name.startswith(f"{role}/")) for role in ROLES
}
SLOTS = [
    (name, key, role)
    for name in NAMES
    for key, protocols in slots_of(ROLES[name.split("/")[0]].get(name)).items()
    for role in ROLES
    if role not in {role_of(protocol) for protocol in protocols}
]


def error_of(node, path="model", slot=None):
    with pytest.raises(ConfigError) as caught:
        build(node, path, slot)
    return str(caught.value)


def node_of(name, **changes):
    return {"type": name, **EXAMPLES[name], **changes}


def test_every_pair_of_slot_and_role_is_tried():
    assert {role for *_, role in SLOTS} == set(ROLES)
    assert len(SLOTS) > 400


@pytest.mark.parametrize(("name", "key", "role"), SLOTS)
def test_a_part_of_another_role_is_refused_with_its_place(name, key, role):
    wrong = ONE_OF[role]
    own = {role_of(p) for p in slots_of(ROLES[name.split("/")[0]].get(name))[key]}
    text = error_of({"type": name, key: node_of(wrong), **_others(name, key)})
    assert (
        text == f"model.{key}: must be one of {' or '.join(own)}, but '{wrong}' is one of {role}."
    )


def _others(name, key):
    """Return the further arguments, parts left out so that the one in question is built first."""
    return {k: v for k, v in EXAMPLES[name].items() if k != key}


UNET = dict(type="encoders/unet", num_landmarks=3, first=2, widths=(8, 8, 4))
OF_ONE_ROLE = {
    "an appearance encoder that needs the pose, as the encoder": (
        dict(encoder=node_of("encoders/part_appearance")),
        "model.encoder: 'encoders/part_appearance' does not fit Encoder: its "
        "forward(image, pose) must be forward(image).",
    ),
    "a decoder of motion, where poses are drawn": (
        dict(decoder=node_of("decoders/occlusion_aware")),
        "model.decoder: 'decoders/occlusion_aware' does not fit Decoder: its "
        "forward(source, motion) must be forward(drawn, appearance).",
    ),
    "a conditional critic, where nothing is its condition": (
        dict(image_critic=node_of("critics/conditional_image", conditional=True)),
        "model: pipelines/reconstruction: ValueError: image_critic sees only images; use one "
        "that is not conditional.",
    ),
    "a regressor of pictures that reads photographs": (
        dict(bottleneck=dict(type="bottlenecks/skeleton_regressor", encoder=UNET)),
        "model.bottleneck: bottlenecks/skeleton_regressor: ValueError: the encoder must read a "
        "one-channel pose image; pass takes='pose_image' to encoders/stem.",
    ),
}


@pytest.mark.parametrize("case", OF_ONE_ROLE)
def test_a_part_of_the_right_role_and_the_wrong_kind_is_refused(case):
    changes, text = OF_ONE_ROLE[case]
    assert error_of(node_of("pipelines/reconstruction", **changes)) == text


def test_a_decoder_of_drawn_poses_is_refused_in_motion_transfer():
    node = node_of("pipelines/motion_transfer", decoder=node_of("decoders/spade"))
    assert error_of(node) == (
        "model.decoder: 'decoders/spade' does not fit MotionDecoder: its "
        "forward(drawn, appearance) must be forward(source, motion)."
    )


def test_a_pose_prior_without_images_is_no_data_set_of_clips():
    text = error_of(
        node_of("datasets/clips", frame_dataset=node_of("datasets/poses")), "data.train"
    )
    assert text.startswith("data.train.frame_dataset: 'datasets/poses' does not fit ClipDataset: ")


def test_a_part_where_none_belongs_is_refused():
    text = error_of(node_of("encoders/stem", width=UNET))
    assert text == (
        "model.width: this argument does not take a component. To take one, annotate it with a "
        "protocol from registry.protocols, as in 'encoder: Encoder'."
    )


# what losses read


class Nothing:
    fills = frozenset()


@pytest.mark.parametrize("name", [n for n in NAMES if n.startswith("losses/")])
def test_every_field_a_loss_reads_must_be_filled(name):
    """Without any one of them it is refused; with all of them it is not."""
    loss = build(node_of(name))
    assert loss.reads

    class Pipeline:
        fills = frozenset(field for field in loss.reads if not field.startswith("batch."))

    batch = {field.removeprefix("batch.") for field in loss.reads} | {"poses"}
    check_losses(Pipeline, {"some": loss}, batch)
    for field in loss.reads:

        class Less:
            fills = Pipeline.fills - {field}

        with pytest.raises(ConfigError) as caught:
            check_losses(Less, {"some": loss}, batch - {field.removeprefix("batch.")})
        if field == "batch.poses":
            continue  # without them the pipeline does not read the prior, which is told first
        place = field.replace("batch.", "Batch.") if "batch." in field else f"Outputs.{field}"
        assert str(caught.value).startswith(f"losses.some: {type(loss).__name__} reads {place}, ")
        assert "it is produced by " in str(caught.value)
        assert str(caught.value).endswith("or remove 'losses.some'.")


WRONG_RUNS = {
    "a mask, without a compositor": (
        dict(losses=dict(mask=dict(type="losses/mask_entropy"))),
        "losses.mask: MaskEntropy reads Outputs.layers.mask, which this config does not fill; it "
        "is produced by compositors/mask_blend.",
    ),
    "motion, of a pipeline that redraws": (
        dict(losses=dict(moved=dict(type="losses/pixel", of="deformed"))),
        "losses.moved: Pixel reads Outputs.deformed, which this config does not fill; it is "
        "produced by pipelines/motion_transfer.",
    ),
    "a second view, without the transform": (
        dict(losses=dict(same=dict(type="losses/equivariance_points"))),
        "losses.same: EquivariancePoints reads Batch.warp, which this config does not fill; it is "
        "produced by transforms/second_view.",
    ),
    "a prior's critic, without data.prior": (
        dict(losses=dict(real=dict(type="losses/adversarial")), prior=None),
        "losses.real: Adversarial reads Outputs.pose_critic, which this config does not fill; it "
        "is produced by a pipeline with a prior, given data.prior.",
    ),
    "features, of a critic that hides them": (
        dict(losses=dict(like=dict(type="losses/feature_matching", weights=(1,)))),
        "losses.like: FeatureMatching reads Outputs.image_critic.features, which this config does "
        "not fill; it is produced by a critic that exposes its features, such as "
        "critics/feature_patch.",
    ),
}


@pytest.mark.parametrize("case", WRONG_RUNS)
def test_a_run_whose_loss_lacks_its_part_never_starts(case, tmp_path):
    changes, text = WRONG_RUNS[case]
    cfg = load_config(write_config(tmp_path))
    cfg["losses"] = changes["losses"]
    if "prior" in changes:
        cfg["data"].pop("prior")
    with pytest.raises(ConfigError) as caught:
        Job(cfg, tmp_path / "run")
    assert str(caught.value).startswith(text)
    assert not (tmp_path / "run").exists()


WRONG_METRICS = {
    "masks, without a compositor": (
        "metrics/mask_iou",
        "evaluate.metrics.some: MaskIou reads Outputs.layers.mask, which this config does not "
        "fill; it is produced by compositors/mask_blend.",
    ),
    "containment, of a bottleneck without maps": (
        "metrics/containment",
        "evaluate.metrics.some: Containment reads Outputs.landmarks.prob, which this config does "
        "not fill; it is produced by a bottleneck that reads probability maps.",
    ),
    "states, of a pipeline that forecasts nothing": (
        "metrics/state_error",
        "evaluate.metrics.some: StateError reads Outputs.states, which this config does not fill; "
        "it is produced by pipelines/forecast.",
    ),
}


@pytest.mark.parametrize("case", WRONG_METRICS)
def test_a_run_whose_metric_lacks_its_part_never_starts(case, tmp_path):
    name, text = WRONG_METRICS[case]
    cfg = load_config(write_config(tmp_path))
    cfg["evaluate"]["metrics"] = {"some": {"type": name}}
    cfg["data"]["fit"] = cfg["data"]["test"]
    with pytest.raises(ConfigError) as caught:
        Job(cfg, tmp_path / "run")
    assert str(caught.value).startswith(text)


# protocols themselves


@pytest.mark.parametrize("name", NAMES)
def test_every_optional_attribute_may_be_read_without_asking(name):
    role = name.split("/")[0]
    cls = ROLES[role].get(name)
    assert [a for a in defaults_of(role) if not hasattr(cls, a)] == []


def test_registering_completes_a_class_and_keeps_what_it_has(monkeypatch):
    class Plain(torch.nn.Module):
        fills = ("maps", "features")

        def forward(self, image):
            return image

    monkeypatch.setitem(ROLES["encoders"].module_dict, "encoders/test/plain", Plain)
    registry.ENCODERS.register_module("encoders/test/plain", force=True)(Plain)
    assert (Plain.in_channels, Plain.needs_pose, Plain.out_channels) == (3, False, None)
    assert Plain.fills == ("maps", "features")
    assert Plain.example is None


def test_every_field_of_the_contract_has_its_shape_and_meaning():
    text = Outputs.__doc__
    assert "\n    render: (B, 3, H, W) the reconstruction of ``target``, in [0, 1]" in text
    assert "\n    landmarks: of ``driving``." in text
