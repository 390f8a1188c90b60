"""What the attacks work on: tiny configs, a finished run, packages, pictures and videos."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import common

# a GAN with pool, average, augmentation, panels, checkpoints and a held-out animation: see runs.py
CHANGES = (
    ("iterations=16", "iterations=8"),
    ("batch_size=4", "batch_size=2"),
    ("panels_every=8, checkpoint_every=3", "panels_every=4, checkpoint_every=2"),
    ("lr_factors=((4, 1.0), (16, 0.1))", "lr_factors=((2, 1.0), (8, 0.1))"),
    ("clips=3, frames_per_clip=8", "clips=3, frames_per_clip=4"),
    ('split="test", image_size=image_size, clips=2', 'split="test", image_size=image_size, '
     "clips=1, frames_per_clip=6"),
)  # fmt: skip
VALIDATION = (
    "train.evaluate_every=3",
    "data.val={'type': 'datasets/puppets', 'split': 'test', 'image_size': 32, 'clips': 1, "
    "'frames_per_clip': 4}",
)


def configs(folder: Path) -> Path:
    """Write gan.py, forecast.py (with its origin.py) and flow.py; return the folder."""
    from runs import CONFIG

    from tests.test_flow import CONFIG as FLOW
    from tests.test_forecast import FORECAST, ORIGIN

    text = CONFIG
    for old, new in CHANGES:
        assert old in text, old
        text = text.replace(old, new)
    folder.mkdir(parents=True, exist_ok=True)
    for name, words in {"gan": text, "forecast": FORECAST, "origin": ORIGIN, "flow": FLOW}.items():
        (folder / f"{name}.py").write_text(words)
    return folder


def clips(folder: Path, lengths: tuple[int, ...] = (20, 6, 4), side: int = 32) -> Path:
    """Write folders of PNG frames, as flow.py reads them from ``clips``."""
    import cv2
    import numpy as np

    from components.datasets.puppets import Puppets

    puppets = Puppets(image_size=side, clips=len(lengths))
    for clip, length in enumerate(lengths):
        there = folder / f"{clip}"
        there.mkdir(parents=True)
        for t in range(length):
            image = puppets.image(32 * clip + t)[..., ::-1]
            cv2.imwrite(str(there / f"{t}.png"), np.ascontiguousarray(image))
    return folder


def frames(count: int, side: int = 64, *, noise: bool = False) -> list[Any]:
    """Return frames of one moving puppet; with noise they are hard to compress."""
    import numpy as np

    from components.datasets.puppets import Puppets

    puppets, rng = Puppets(image_size=side, clips=1, frames_per_clip=count), np.random
    made = [np.ascontiguousarray(puppets.image(t)) for t in range(count)]
    if noise:
        rng = np.random.default_rng(0)
        made = [(f // 2 + rng.integers(0, 128, f.shape, np.uint8)).astype(np.uint8) for f in made]
    return made


def video(path: Path, count: int = 12, side: int = 64, *, noise: bool = False) -> Path:
    """Write a video of a moving puppet with OpenCV or Pillow, without the library's writer."""
    import cv2
    from PIL import Image

    made = frames(count, side, noise=noise)
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".gif":
        first, *more = map(Image.fromarray, made)
        first.save(path, save_all=True, append_images=more, duration=80, loop=0)
        return path
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), 12, (side, side))
    for frame in made:
        writer.write(cv2.cvtColor(frame, cv2.COLOR_RGB2BGR))
    writer.release()
    return path


def pictures(folder: Path, count: int = 4, side: int = 64, *, noise: bool = False) -> Path:
    """Write pictures of puppets."""
    from PIL import Image

    folder.mkdir(parents=True, exist_ok=True)
    for number, frame in enumerate(frames(count, side, noise=noise)):
        Image.fromarray(frame).save(folder / f"{number}.png")
    return folder


def finished_run(folder: Path) -> Path:
    """Train gan.py to the end in ``folder/gan`` and return that."""
    outcome = common.run(["train", configs(folder) / "gan.py", "--work-dir", folder / "gan"])
    assert outcome.status == 0, outcome
    return folder / "gan"


def package(folder: Path, name: str = "tiny", value: float = 0.0, size: int = 0) -> Path:
    """Write a package: one that loads; or, with a size, one of so many weights of that value."""
    from packages import make_package
    from zoo_packages import loadable_package

    if size:
        return make_package(folder, name=name, value=value, size=size)
    return loadable_package(folder, name=name, seed=int(value))


def digest(folder: Path) -> str | None:
    """Return the digest of a package that is whole; None if the folder does not exist.

    Raises:
        ZooError, OSError: it is damaged.
    """
    from zoo.package import open_package

    return open_package(folder).digest if folder.exists() else None


def decoded(path: Path) -> int:
    """Return the number of frames of a video, GIF or picture, read to its end.

    Raises:
        Exception: it is damaged.
    """
    import cv2
    from PIL import Image

    if path.suffix in (".gif", ".png"):
        with Image.open(path) as image:
            count = getattr(image, "n_frames", 1)
            for number in range(count):
                image.seek(number)
                image.load()
        if path.suffix == ".gif" and not path.read_bytes().endswith(b";"):
            raise OSError(f"{path} has no end")
        return count
    capture, count = cv2.VideoCapture(os.fspath(path)), 0
    while capture.read()[0]:
        count += 1
    if not count:
        raise OSError(f"{path} has no frame")
    return count


def broken(path: Path) -> str | None:
    """Return why a file that a command wrote is damaged, or None; by its name."""
    import json

    import numpy as np

    from registry import checkpoint

    try:
        if path.suffix == ".pth":
            checkpoint.load(path)
        elif path.suffix == ".json":
            json.loads(path.read_text())
        elif path.suffix == ".safetensors":
            from safetensors import safe_open

            with safe_open(path, framework="numpy") as file:
                for key in file.keys():  # noqa: SIM118 it is not a dict
                    file.get_tensor(key)
        elif path.suffix in (".png", ".gif", ".mp4", ".avi"):
            decoded(path)
        elif path.suffix == ".npy":
            np.load(path, mmap_mode="r")
        elif path.suffix == ".csv" and not path.read_text().endswith("\n"):
            return "the last line has no end"
    except Exception as error:
        return f"{type(error).__name__}: {error}"[:300]
    return None


def damage(folder: Path) -> list[tuple[str, str]]:
    """Return the damaged files below a folder as problems; hidden ones are not looked at."""
    if not folder.is_dir():
        return []
    found = []
    for path in sorted(folder.rglob("*")):
        inside = path.relative_to(folder)
        hidden = any(part.startswith(".") for part in inside.parts)
        if path.is_file() and not hidden and (why := broken(path)):
            found.append(("torn", f"{inside}: {why}"))
    return found


def remove(path: Path) -> None:
    """Remove a file or a folder, if it is there."""
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
