"""What papers write: their equations in the code, where their text differs, and two models of it.

Parameter counts are sums over the layers that the papers' text names, worked out here.
"""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrize

from registry import build, check, load_config
from zoo.commands.where import ROOT, places

CONFIGS = {path.stem: path for path in (Path(ROOT) / "configs").glob("*.py")}
OURS = {"puppets", "video", "faces", "people"}  # data that no paper has
PUBLISHED = sorted(name for name in CONFIGS if not OURS & set(name.split("_")))
STATEMENT = re.compile(r"^(Text differs|As the text)\b(.*)\Z", re.MULTILINE | re.DOTALL)

# every numbered equation of the papers whose text was at hand, and one part that follows it; the
# two versions of the factorized paper number theirs alike
EQUATIONS = {
    "keypointgan": {
        "1": "ImageToSkeleton",
        "2": "Skeleton",
        "3": "SkeletonRegressor",
        "4": "Perceptual",
        "5": "Critic",
        "6": "Adversarial",
        "7": "PriorPoints",
    },
    "factorized": {
        "1": "pool_parts",
        "2": "draw_gaussians",
        "3": "UNet",
        "4": "PartAppearance",
        "5": "MaskBlend",
        "6": "Spade",
        "7": "MaskBlend",
    },
    "lee": {
        "1": "local_motions",
        "2": "local_motions",
        "3": "local_motions",
        "4": "OcclusionAware.deform",
        "5": "Trainee.parse_losses",
        "6": "FlowAgreement",
        "7": "LandmarkFeatures",
    },
}

# what each list must name: words of the text's form
LISTS = {
    "factorized_bbc": [
        *("64 to 512", "32 to 128", "mask net 32", "sums over a part", "at an eighth"),
        *("spectral norm on every convolution", "no pixels", "VGG's own input range"),
        *("weight 1 (5)", "crops of 300 pixels", "3 to 60 frames", "masks"),
    ],
    "factorized_h36m": ["0.08", "300 pixels"],
    "factorized_celeba": ["0.08", "MAFL"],
    "factorized_kth": ["half the resolution", "future frames"],
    "keypointgan_h36m": [
        *("squared distance", "10 on eq 5 and 1 on eq 4", "1 on eq 7 (0.9)", "running mean"),
        *("with the pixels", "pool", "merges", "batch norm", "2-D distributions", "first layer"),
        *("at random", "MSE"),
    ],
    "keypointgan_h36m_regressor": ["squared distance", "batch norm", "2-D"],
    "keypointgan_h36m_full": ["32 joints found, 17 scored", "before or after"],
    "imm_celeba": ["recalled", "softmax", "nine tenths"],
    "lorenz_h36m": ["covariances"],
    "fomm_vox": ["recalled", "exponents", "AKD and AED"],
    "fomm_vox_flow": ["equation 5", "losses/landmark_features"],
    "monkeynet_taichi": ["AKD and AED"],
    "i2v_taichi": ["the other 32 frames"],
}


def statement(name: str) -> str:
    """The last paragraph of a config's docstring, from where it speaks of the text."""
    found = STATEMENT.search(ast.get_docstring(ast.parse(CONFIGS[name].read_text())) or "")
    assert found, f"{name}: nothing on how the paper's text differs"
    return " ".join(found[2].split())


def parameters(config: str, *parts: str) -> int:
    model = load_config(CONFIGS[config])["model"]
    with torch.device("meta"):
        built = [build(model[part], part) for part in parts]
    return sum(p.numel() for part in built for p in part.parameters())


# equations


@pytest.mark.parametrize("paper", EQUATIONS)
def test_every_numbered_equation_leads_to_its_code(paper):
    found = {(p.number, p.code.split()[-1]) for p in places(ROOT) if p[:2] == (paper, "eq")}
    assert {number for number, _ in found} == set(EQUATIONS[paper])
    assert set(EQUATIONS[paper].items()) <= found


# statements


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_published_config_says_where_the_text_differs(name):
    said = statement(name)
    pointer = re.search(r"as (?:listed|said) in (\w+)\.py", said)
    if pointer:
        assert pointer[1].split("_")[0] == {"i2v": "monkeynet"}.get(*[name.split("_")[0]] * 2)
        assert pointer[1] in LISTS  # which has a list of its own
        assert not re.search(r"as (listed|said) in", statement(pointer[1]))
    else:
        assert name in LISTS or name.endswith(("_text", "_text_regressor")) or "forecast" in name


@pytest.mark.parametrize("name", LISTS)
def test_a_list_names_every_known_difference(name):
    said = statement(name)
    assert [words for words in LISTS[name] if words not in said] == []


def test_what_is_said_of_the_code_and_of_the_text_is_so():
    code, text = (load_config(CONFIGS[f"factorized_bbc{end}"]) for end in ("", "_text"))
    assert code["model"]["encoder"]["first"] == 6
    assert text["model"]["encoder"]["downs"] == [64, 128, 256, 512]
    reductions = [cfg["model"]["appearance_encoder"]["reduction"] for cfg in (code, text)]
    assert reductions == ["mean", "sum"]
    vgg, plain = (cfg["losses"]["perceptual"] for cfg in (code, text))
    assert plain["taps"] == vgg["taps"][:4] == ["conv1_2", "conv2_2", "conv3_2", "conv4_2"]
    assert plain["tap_weights"] == [1 / 32, 1 / 16, 1 / 8, 1 / 4]
    assert (vgg["taps"][4], vgg["input_range"], vgg["weight"]) == ("input", "signed", 5.0)
    assert "input_range" not in plain
    assert "weight" not in plain
    # (low, high) without high
    train = text["data"]["train"]
    assert (train["crop"], train["pair_range"]) == ("square", [3, 61])
    code, text = (load_config(CONFIGS[f"keypointgan_h36m{end}"]) for end in ("", "_text"))
    weights = [
        [loss.get("weight", 1.0) for loss in cfg["losses"].values()] for cfg in (code, text)
    ]  # perceptual, adversarial, critic, redraw, points
    assert weights == [[10.0, 10.0, 1.0, 0.1, 0.9], [1.0, 10.0, 20.0, 0.1, 1.0]]
    assert [cfg["model"]["rasterizer"]["squared"] for cfg in (code, text)] == [False, True]
    assert [cfg["model"]["prior"]["history"] for cfg in (code, text)] == [50, 0]


# the models


def conv(inputs: int, outputs: int, kernel: int = 3, bias: bool = True) -> int:
    return inputs * outputs * kernel**2 + bias * outputs


def batch(inputs: int, outputs: int, kernel: int = 3) -> int:
    """A convolution without bias and the scales and shifts of its batch norm."""
    return conv(inputs, outputs, kernel, bias=False) + 2 * outputs


def stem(inputs: int) -> int:
    """Figures 17 to 19, down to 256 channels at an eighth of the size."""
    rest = ((32, 32), (32, 64), (64, 64), (64, 128), (128, 128), (128, 256), (256, 256))
    return batch(inputs, 32, kernel=7) + sum(batch(*widths) for widths in rest)


def spade(channels: int) -> int:
    """Scale and shift from 30 part maps through 128 channels."""
    return conv(30, 128) + 2 * conv(128, channels)


def spade_block(inputs: int, outputs: int) -> int:
    middle = min(inputs, outputs)
    main = spade(inputs) + conv(inputs, middle) + spade(middle) + conv(middle, outputs)
    shortcut = spade(inputs) + conv(inputs, outputs, 1, bias=False)
    return main + (shortcut if inputs != outputs else 0)


@pytest.mark.parametrize(
    ("config", "parts", "expected"),
    [
        (
            "factorized_bbc_text",
            ["encoder"],
            # four modules from 64, doubling; three from 512, halving, each but the first after the
            # concatenation of its skip; 30 maps from 128 channels and a skip of 128
            sum(conv(*widths) for widths in ((3, 64), (64, 128), (128, 256), (256, 512)))
            + sum(conv(*widths) for widths in ((512, 512), (512 + 512, 256), (256 + 256, 128)))
            + conv(128 + 128, 30, 1),
        ),
        (
            "factorized_bbc_text",
            ["appearance_encoder"],  # the image and 30 maps; one module down, one up
            conv(3 + 30, 64) + conv(64, 64) + conv(64 + 64, 32, 1),
        ),
        (
            "factorized_bbc_text",
            ["decoder"],  # 256, 256, 128, 64 and 3 channels
            sum(spade_block(*w) for w in ((32, 256), (256, 256), (256, 128), (128, 64)))
            + conv(64, 3),
        ),
        (
            "factorized_bbc_text",
            ["compositor"],
            # masks: 32 at each module
            conv(30, 32)
            + 2 * conv(32, 32)
            + conv(32, 32)
            + 2 * conv(32 + 32, 32)
            + conv(32 + 32, 1, 1)
            # background: doubling from 32, down and up
            + sum(conv(*widths) for widths in ((3, 32), (32, 64), (64, 128)))
            + sum(conv(*widths) for widths in ((128, 32), (32 + 128, 64), (64 + 64, 128)))
            + conv(128 + 32, 3, 1),
        ),
        (
            "keypointgan_h36m_text",
            ["encoder"],  # figure 17, skips of 128, 64 and 32 concatenated
            stem(3)
            + conv(256, 256, 1, bias=False)
            + 2 * batch(256, 256)
            + sum(batch(*w) for w in ((256 + 128, 128), (128, 128), (128 + 64, 64), (64, 64)))
            + sum(batch(*w) for w in ((64 + 32, 32), (32, 32)))
            + conv(32, 1),
        ),
        (
            "keypointgan_h36m_text",
            ["appearance_encoder", "decoder"],  # figure 18, with three channels at the end
            stem(3)
            + stem(1)
            + 2 * conv(256, 256, 1, bias=False)
            + sum(batch(*w) for w in ((512, 256), (256, 256), (256, 128), (128, 128)))
            + sum(batch(*w) for w in ((128, 64), (64, 64), (64, 32)))
            + conv(32, 3),
        ),
        (
            "keypointgan_h36m_text",
            ["bottleneck"],  # figure 19, one channel in, 32 keypoints out
            stem(1) + conv(256, 32, 1, bias=False),
        ),
        (
            "keypointgan_h36m_text",
            ["prior"],  # figure 20 three times; instance norm has no parameters
            3
            * sum(
                conv(*widths, kernel=4)
                for widths in ((1, 64), (64, 128), (128, 256), (256, 512), (512, 1))
            ),
        ),
    ],
)
def test_models_of_the_text_have_the_parameters_it_implies(config, parts, expected):
    assert parameters(config, *parts) == expected


LOGITS = dict(type="encoders/stem", takes="pose_image", out_channels=4, width=4)


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("encoders/unet", dict(num_landmarks=3, downs=(4, 6, 8, 10), widths=(10, 6, 4))),
        (
            "encoders/part_appearance",
            dict(num_landmarks=3, features=0, out_channels=5, downs=(4,), widths=(4,)),
        ),
        (
            "compositors/mask_blend",
            dict(
                num_landmarks=3,
                mask_downs=(4, 4, 4),
                mask_widths=(4, 4, 4),
                background_downs=(2, 4, 8),
                background_widths=(2, 4, 8),
            ),
        ),
        ("encoders/image_to_skeleton", dict(width=4, merge=False)),
        ("critics/multiscale_patch", dict(width=4, scales=2, first_norm=True)),
        ("bottlenecks/skeleton_regressor", dict(encoder=LOGITS, softmax="spatial")),
    ],
)
def test_the_forms_of_the_text_pass_the_tests_of_components(name, arguments):
    check(name, **arguments)


def test_spectral_norm_is_on_every_convolution_of_the_texts_decoder_and_on_blocks_alone_in_code():
    def normalised(config):
        with torch.device("meta"):
            decoder = build(load_config(CONFIGS[config])["model"]["decoder"], "decoder")
        convs = [layer for layer in decoder.modules() if isinstance(layer, nn.Conv2d)]
        return sum(map(parametrize.is_parametrized, convs)), len(convs)

    # a SPADE has 3 convolutions. Text: 3 blocks of 3 + 3 * 3 with shortcuts, one of 2 + 2 * 3, one
    # layer. Code: 3 blocks of 3 + 3 * 3, 3 of 2 + 2 * 3, a first and a last layer
    assert normalised("factorized_bbc_text") == (3 * 12 + 8 + 1, 3 * 12 + 8 + 1)
    assert normalised("factorized_bbc") == (3 * 3 + 3 * 2, 3 * 12 + 3 * 8 + 2)


def test_the_texts_unet_by_hand():
    """One channel, kernels that copy: norm and ReLU of the map, and of its maxima, side by side."""
    from components.layers.plain_unet import PlainUNet

    net = PlainUNet(inputs=1, downs=(1,), widths=(1,), outputs=1)
    with torch.no_grad():
        for layer in net.modules():
            if isinstance(layer, nn.Conv2d):
                layer.bias.zero_()
                layer.weight.zero_()
                layer.weight[..., layer.kernel_size[0] // 2, layer.kernel_size[1] // 2] = 1
    image = torch.zeros(1, 1, 4, 4)
    image[..., :2] = 2.0  # mean 1, deviation 1: normalised to 1 and -1, after ReLU 1 and 0
    out, first = net(image)
    # pooled to columns 1, 0; normalised to 1, -1; ReLU; doubled: 1, 3/4, 1/4, 0; the skip added
    # by the last layer, whose two weights are 1
    assert torch.allclose(first[0, 0, 0], torch.tensor([1.0, 1, 0, 0]), atol=1e-4)
    assert torch.allclose(out[0, 0, 3], torch.tensor([2.0, 1.75, 0.25, 0]), atol=1e-3)


def test_the_texts_appearance_net_sees_the_image_and_not_the_pose_features():
    from registry.contract import Encoding, Landmarks, Pose

    torch.manual_seed(0)
    node = dict(
        type="encoders/part_appearance", num_landmarks=2, features=0, downs=(4,), widths=(4,)
    )
    net = build(node, "e", "encoders")
    prob = torch.rand(1, 2, 8, 8).flatten(2).softmax(dim=-1).view(1, 2, 8, 8)
    image = torch.rand(1, 3, 16, 16, requires_grad=True)
    landmarks = Landmarks(xy=torch.zeros(1, 2, 2), prob=prob)
    pose = Pose(landmarks=landmarks, encoding=Encoding(), drawn=prob)
    net(image, pose).codes.square().sum().backward()
    assert image.grad.abs().sum() > 0
