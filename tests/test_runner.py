"""The optimizer step and the options of the ``train`` section."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from mmengine.model import convert_sync_batchnorm
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from components.layers.avgpool_hourglass import AvgpoolHourglass
from registry import ConfigError, checkpoint, load_config, runner
from registry.config import Train
from registry.runner import train
from registry.trainee import Stepper
from tests.runs import write_config


def run(folder, **options):
    cfg = load_config(write_config(folder), {f"train.{k}": v for k, v in options.items()})
    return train(cfg, folder / "work")


def test_gradients_are_clipped_per_group_by_hand():
    a, b = (torch.nn.Parameter(torch.zeros(2)) for _ in range(2))
    sgd = torch.optim.SGD([{"params": [a]}, {"params": [b]}], lr=1.0)
    stepper = Stepper(sgd, clip=1.0, amp=False)
    stepper.update_params(
        (a * torch.tensor([3.0, 4.0])).sum() + (b * torch.tensor([0.3, 0.4])).sum()
    )
    assert torch.allclose(a, torch.tensor([-0.6, -0.8]), atol=1e-5)  # norm 5 became 1
    assert torch.allclose(
        b, torch.tensor([-0.3, -0.4])
    )  # norm 0.5 stayed; together they are above 1


def test_bfloat16_trains_on_the_cpu_with_float32_weights(tmp_path):
    job = run(tmp_path, amp=True, iterations=3)
    assert {p.dtype for p in job.trainee.parameters()} == {torch.float32}
    assert job.evaluated().bottleneck.encoder.head.weight.isfinite().all()
    # it really computed in bfloat16: the same run in float32 ends elsewhere, but near
    (tmp_path / "plain").mkdir()
    plain = run(tmp_path / "plain", amp=False, iterations=3)
    pairs = list(zip(job.trainee.parameters(), plain.trainee.parameters()))
    assert any(not torch.equal(a, b) for a, b in pairs)
    assert max((a - b).abs().max().item() for a, b in pairs) < 0.01


def test_group_options_reach_their_group(tmp_path):
    """A critic with rate zero keeps its weights while the generator moves."""
    start = run(tmp_path, iterations=1, lr=0.0).trainee.pipeline.state_dict()
    (tmp_path / "b").mkdir()
    end = run(tmp_path / "b", iterations=3, groups={"prior": {"lr": 0.0}})
    end = end.trainee.pipeline.state_dict()
    critic = [k for k in start if k.startswith("prior.critic")]
    encoder = [k for k in start if k.startswith("encoder") and k.endswith("weight")]
    assert all(torch.equal(start[k], end[k]) for k in critic)
    assert any(not torch.equal(start[k], end[k]) for k in encoder)


def test_unknown_group_is_named_with_those_there_are(tmp_path):
    with pytest.raises(
        ConfigError, match="'critic' must be one of the groups generator, prior, bottleneck"
    ):
        run(tmp_path, groups={"critic": {"lr": 1.0}})


def test_averaged_weights_by_hand(tmp_path):
    """ema = decay * ema + (1 - decay) * weights, from the weights after the first step on."""
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    one = run(tmp_path / "one", iterations=1, ema=0.75)
    two = run(tmp_path / "two", iterations=2, ema=0.75, lr_factors=[])
    name = "encoder.neck.weight"
    first = one.trainee.pipeline.state_dict()[name]
    second = two.trainee.pipeline.state_dict()[name]
    expected = 0.75 * first + 0.25 * second
    assert torch.allclose(two.evaluated().state_dict()[name], expected, atol=1e-7)
    saved = checkpoint.weights(checkpoint.load(tmp_path / "two/work/last.pth"))[name]
    assert torch.equal(saved, two.evaluated().state_dict()[name])


def test_the_work_directory_holds_only_our_files(tmp_path):
    run(tmp_path, iterations=2)
    names = {path.name for path in (tmp_path / "work").iterdir()} - {"tensorboard"}
    files = {"config.json", "log.txt", "scalars.jsonl", "curve.png", "panels", "last.pth"}
    files.add("usual.json")
    assert names == files


@pytest.mark.parametrize(
    ("asked", "cuda", "expected"), [(True, True, "torch"), (True, False, None), (False, True, None)]
)
def test_synchronised_batch_norm_is_asked_for_on_gpus_alone(
    asked, cuda, expected, monkeypatch, tmp_path
):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    monkeypatch.setattr(runner, "_Quiet", lambda **given: SimpleNamespace(rank=1, **given))
    settings = Train(iterations=1, batch_size=1, lr=1.0, sync_batch_norm=asked)
    pipeline = SimpleNamespace(pipeline=None)
    job = SimpleNamespace(settings=settings, trainee=pipeline, work_dir=tmp_path)
    optimizer = torch.optim.SGD([torch.zeros(1)])
    made = runner.make_runner(job, optimizer, loader=[], hooks=[], ranks=2)
    assert made.launcher == "pytorch"
    assert made.cfg.get("sync_bn") == expected


def test_conversion_to_synchronised_batch_norm_keeps_what_was_made_before():
    """The order of a run: averaged weights, then optimizer, then mmengine's conversion."""
    torch.manual_seed(0)
    net = AvgpoolHourglass(inputs=3, width=2, max_width=4, depth=2)
    average = AveragedModel(net, multi_avg_fn=get_ema_multi_avg_fn(0.75))
    parameters, names = list(net.parameters()), list(net.state_dict())
    net = convert_sync_batchnorm(net, "torch")
    norms = [type(m) for m in net.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    assert norms == [nn.SyncBatchNorm] * 4
    assert list(net.state_dict()) == names
    assert all(a is b for a, b in zip(parameters, net.parameters()))
    average.update_parameters(net)
    before = {name: value.clone() for name, value in net.named_parameters()}
    with torch.no_grad():
        for value in net.state_dict().values():
            value += 1
    average.update_parameters(net)
    for name, value in average.module.named_parameters():
        assert torch.allclose(value, before[name] + 0.25, atol=1e-6)
    fresh = AvgpoolHourglass(inputs=3, width=2, max_width=4, depth=2)
    fresh.load_state_dict(net.state_dict())
    x = torch.rand(1, 3, 8, 8)
    assert torch.allclose(fresh.eval()(x), net.eval()(x))
