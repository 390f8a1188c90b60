"""Damaged packages: every file, every kind of damage; and what only seems whole."""

import hashlib
import json
import os
import random
import shutil
import stat
from pathlib import Path

import pytest
import safetensors.torch
import torch
from zoo_packages import (
    RESULT,
    ROOT,
    loadable_package,
    read_config,
    seal,
    tiny_model,
    training_config,
    write_config,
)

import zoo
from zoo import package
from zoo.errors import (
    FormatTooNewError,
    IncompleteEntryError,
    IntegrityError,
    WeightsMismatchError,
)

PNG = b"\x89PNG\r\n\x1a\n" + bytes(50)
FILES = [
    *("README.md", "LICENSE", "config.json", "model.safetensors", "evaluation.json"),
    *("golden.safetensors", "assets/landmarks.png", "manifest.json"),
]


def full_package(folder: Path, name: str, landmarks: int) -> Path:
    """Save a package with every kind of file."""
    cfg = training_config(landmarks)
    return zoo.save(
        tiny_model(cfg),
        folder,
        name=name,
        license="other",
        license_text=f"Terms of {name}.",
        evaluation=[{**RESULT, "n": landmarks}],
        pictures={"landmarks.png": PNG + name.encode()},
        cfg=cfg,
    )


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    """A folder with two packages that share no file."""
    folder = tmp_path_factory.mktemp("made")
    full_package(folder / "a", "tiny-a", 3)
    full_package(folder / "b", "tiny-b", 4)
    return folder


@pytest.fixture
def folder(made, tmp_path) -> Path:
    """A copy of the first package."""
    return Path(shutil.copytree(made / "a", tmp_path / "a"))


def delete(file: Path, other: Path) -> None:
    file.unlink()


def empty(file: Path, other: Path) -> None:
    file.write_bytes(b"")


def truncate(file: Path, other: Path) -> None:
    file.write_bytes(file.read_bytes()[:-1])


def append(file: Path, other: Path) -> None:
    file.write_bytes(file.read_bytes() + b"\n")


def swap(file: Path, other: Path) -> None:
    assert file.read_bytes() != other.read_bytes()
    shutil.copyfile(other, file)


def link(file: Path, other: Path) -> None:
    twin = (file.parents[1] if file.parent.name == "assets" else file.parent).parent / "twin"
    shutil.move(file, twin)
    file.symlink_to(twin)


def directory(file: Path, other: Path) -> None:
    file.unlink()
    file.mkdir()


DAMAGE = {
    delete: IncompleteEntryError,
    empty: IntegrityError,
    truncate: IntegrityError,
    append: IntegrityError,
    swap: IntegrityError,
    link: IntegrityError,
    directory: (IntegrityError, IncompleteEntryError),
}


def refuses(folder: Path, error: type | tuple) -> str:
    """Check that neither load nor verify takes the package; return what load says."""
    with pytest.raises(error) as caught:
        zoo.load(f"dir:{folder}")
    try:
        report = zoo.verify(f"dir:{folder}")
    except error:
        pass
    else:
        assert not report.ok
        assert report.problems == [str(caught.value)]
    return str(caught.value)


def test_the_packages_hold_every_kind_of_file_and_load(made):
    for name in ("a", "b"):
        found = {p.relative_to(made / name).as_posix() for p in (made / name).rglob("*.*")}
        assert found | {"LICENSE"} == set(FILES)
        report = zoo.verify(f"dir:{made / name}", deep=True)
        assert (report.ok, report.checked) == (True, len(FILES))


@pytest.mark.parametrize("damage", DAMAGE, ids=lambda damage: damage.__name__)
@pytest.mark.parametrize("file", FILES)
def test_a_damaged_file_is_refused(file, damage, folder, made):
    damage(folder / file, made / "b" / file)
    text = refuses(folder, DAMAGE[damage])
    assert "'a'" in text  # which package
    if damage in (truncate, append, swap) and file != "manifest.json":
        assert f"'a': {Path(file).name} is damaged or was modified" in text
    if damage is delete and file != "manifest.json":
        assert f"1 of {len(FILES)} files are missing ({file})" in text


@pytest.mark.parametrize("file", FILES)
def test_a_flipped_bit_is_refused(file, folder):
    good = (folder / file).read_bytes()
    rng = random.Random(file)
    for place in (0, len(good) - 1, *(rng.randrange(len(good)) for _ in range(10))):
        bad = bytearray(good)
        bad[place] ^= 1 << rng.randrange(8)
        (folder / file).write_bytes(bad)
        # a digit of the manifest's format can become another digit
        refuses(folder, (IntegrityError, IncompleteEntryError, FormatTooNewError))
    (folder / file).write_bytes(good)
    assert zoo.verify(f"dir:{folder}").ok


@pytest.mark.parametrize("kept", FILES)
def test_a_mixture_of_two_packages_is_refused(kept, folder, made):
    """All files but one are those of the other package."""
    mixed = folder.parent / "mixed"
    shutil.copytree(made / "b", mixed)
    shutil.copyfile(folder / kept, mixed / kept)
    refuses(mixed, IntegrityError)


def test_a_further_file_is_refused(folder):
    (folder / "notes.txt").write_text("mine")
    assert "'notes.txt' is in" in refuses(folder, IntegrityError)


def test_weights_of_another_config_are_refused_though_every_sum_fits(folder, made):
    shutil.copyfile(made / "b" / "model.safetensors", folder / "model.safetensors")
    seal(folder)
    theirs, found = (
        hashlib.sha256((path / "config.json").read_bytes()).hexdigest()[:8]
        for path in (made / "b", folder)
    )
    text = refuses(folder, IntegrityError)
    assert "config.json does not belong to these weights" in text
    assert f"made for config {theirs}, found {found}" in text


def test_a_changed_config_is_refused_though_every_sum_fits(folder):
    config = read_config(folder)
    config["preprocess"]["fit"] = "pad"
    (folder / "config.json").write_text(json.dumps(config))
    seal(folder)
    assert "config.json does not belong to these weights" in refuses(folder, IntegrityError)


def test_deep_verification_finds_the_fingerprint_of_another_model(folder, tmp_path):
    other = loadable_package(tmp_path / "other", "tiny-a", seed=9)
    shutil.copyfile(other / "golden.safetensors", folder / "golden.safetensors")
    seal(folder)
    assert zoo.verify(f"dir:{folder}").ok  # the bytes are those of the manifest
    report = zoo.verify(f"dir:{folder}", deep=True)
    assert not report.ok
    assert any("differs by" in problem for problem in report.problems)


def rewrite(folder: Path, change) -> None:
    """Change the weights' tensors, and make config, metadata and manifest fit."""
    state = safetensors.torch.load_file(folder / "model.safetensors")
    change(state)
    config = read_config(folder)
    stated = config["weights"]["model.safetensors"]
    stated |= {"tensors": len(state), "parameters": sum(v.numel() for v in state.values())}
    safetensors.torch.save_file(state, folder / "model.safetensors", {"format": "pt"})
    write_config(folder, config)


WEIGHT, BIAS = "encoder.layers.0.weight", "encoder.layers.0.bias"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda state: state.pop(BIAS), f"1 missing ({BIAS})."),
        (lambda state: state.update(extra=torch.zeros(2)), "1 unexpected (extra)."),
        (
            lambda state: state.update(renamed=state.pop(BIAS)),
            f"1 missing ({BIAS}), 1 unexpected (renamed).",
        ),
        (
            lambda state: state.update({WEIGHT: torch.zeros(2, 3, 7, 7)}),
            f"1 shapes ({WEIGHT}: file 2x3x7x7, model 1x3x7x7).",
        ),
        (lambda state: state.update({BIAS: state[BIAS][0].clone()}), "file one number, model 1)"),
        (
            lambda state: state.update({BIAS: torch.zeros(1, dtype=torch.int32)}),
            f"1 kinds ({BIAS}: file torch.int32, model torch.float32).",
        ),
        (lambda state: state.clear(), "165 missing ("),
    ],
)
def test_weights_that_do_not_fit_are_listed_and_nothing_is_loaded(
    change, words, folder, monkeypatch
):
    rewrite(folder, change)
    loaded = []
    monkeypatch.setattr(torch.nn.Module, "load_state_dict", lambda *a, **k: loaded.append(a))
    with pytest.raises(WeightsMismatchError) as caught:
        zoo.load(f"dir:{folder}")
    text = str(caught.value)
    assert text.startswith("Weights do not fit pipelines/reconstruction v1 of 'tiny-a': ")
    assert words in text
    assert text.endswith("Nothing was loaded.")
    assert loaded == []
    report = zoo.verify(f"dir:{folder}", deep=True)
    assert not report.ok
    assert report.problems == [text]


def test_more_than_three_are_counted(folder):
    rewrite(folder, lambda state: [state.pop(key) for key in sorted(state)[:10]])
    text = refuses_to_load(folder)
    assert "10 missing (" in text
    assert "; + 7 more)" in text


def refuses_to_load(folder: Path) -> str:
    with pytest.raises(WeightsMismatchError) as caught:
        zoo.load(f"dir:{folder}")
    return str(caught.value)


def test_not_strict_loads_what_fits_and_says_what_does_not(folder, made):
    rewrite(folder, lambda state: state.pop(BIAS))
    with pytest.warns(UserWarning, match="1 missing") as caught:
        model = zoo.load(f"dir:{folder}", strict=False)
    assert len(caught) == 1
    assert "The rest stays untrained (strict=False)" in str(caught[0].message)
    whole = zoo.load(f"dir:{made / 'a'}").state_dict()
    for key, value in model.state_dict().items():
        assert key == BIAS or torch.equal(value, whole[key])


@pytest.mark.parametrize(
    ("umask", "file", "inside"),
    [(0o022, 0o644, 0o755), (0o027, 0o640, 0o750), (0o077, 0o600, 0o700)],
)
def test_permissions_follow_the_umask(umask, file, inside, tmp_path):
    old = os.umask(umask)
    try:
        folder = full_package(tmp_path / "tiny", "tiny", 3)
    finally:
        os.umask(old)
    for path in (folder, *folder.rglob("*")):
        mode = stat.S_IMODE(path.stat().st_mode)
        assert mode == (inside if path.is_dir() else file), path


V1 = ROOT / "tests/formats/v1"
V1_DIGEST = "3d114c473b234df7dd05180f4055c202fc55e3a8f3a3eb2bda1306f94a5cd66b"


def test_a_package_of_format_1_loads_for_ever():
    """tests/formats/v1 was made by ``loadable_package`` at version 0.1.0; never make it again."""
    assert sum(path.stat().st_size for path in V1.iterdir()) < 60_000
    found = package.open_package(V1)
    assert found.digest == V1_DIGEST
    assert found.manifest["format_version"] == found.config["format_version"] == 1
    model = zoo.load(V1)
    stored = safetensors.torch.load_file(V1 / "golden.safetensors")
    outputs = model.predict(stored["input.driving"].float() / 255)
    expected = stored["output.landmarks.xy"].view(1, 3, 2)
    torch.testing.assert_close(outputs.landmarks.xy, expected, atol=1e-4, rtol=0)
    assert expected.std() > 0.01  # three points, not one
    assert zoo.verify(V1, deep=True).ok
    assert model.keypoints["names"] == ["kp00", "kp01", "kp02"]
    assert (model.preprocess.image_size, model.preprocess.fit) == (32, "stretch")


@pytest.mark.parametrize("where", ["config.json", "manifest.json", "evaluation.json", "both"])
def test_a_later_format_is_refused_with_what_to_do(where, folder):
    if where in ("config.json", "both"):
        write_config(folder, {**read_config(folder), "format_version": 2, "min_library": "0.6"})
    if where == "evaluation.json":
        (folder / where).write_text(json.dumps({"format_version": 2, "results": {}}))
    seal(folder, **({"format_version": 2} if where in ("manifest.json", "both") else {}))
    text = refuses(folder, FormatTooNewError)
    assert "has format 2; this version (0.1.0) reads up to 1" in text
    assert "pip install -U keypoint-zoo, or pin an older revision" in text
    if where == "config.json":
        assert "it needs >= 0.6" in text


def test_a_later_format_may_have_other_keys(folder):
    """Nothing of a later format is looked at before its version."""
    (folder / "config.json").write_text(json.dumps({"format_version": 7, "unheard": []}))
    seal(folder)
    assert "has format 7" in refuses(folder, FormatTooNewError)
    (folder / "manifest.json").write_text(json.dumps({"format_version": 8}))
    assert "has format 8" in refuses(folder, FormatTooNewError)
