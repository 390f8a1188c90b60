#!/usr/bin/env python
"""Find landmarks in images, folders and videos.

``tools/predict.py CONFIG --checkpoint work_dirs/X/last.pth my_video.mp4 photos/ --out results/``
writes, for each input, a picture or video with the landmarks drawn on it and a CSV of its pixels.
"""

import argparse
import sys
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from registry import ConfigError, load_config

# only a terminal shows a frame counter, and other lines come below it
NEXT_LINE = "\n" if sys.stderr.isatty() else ""


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("config", help="a .py config or the config.json of a run")
    parser.add_argument(
        "inputs", nargs="+", metavar="INPUT", help="image, folder of images, or video"
    )
    parser.add_argument("--checkpoint", required=True)
    parser.add_argument("--out", required=True, metavar="DIR")
    parser.add_argument("--batch-size", type=int, default=16)
    args = parser.parse_args()
    try:
        cfg = load_config(args.config)
        from registry.job import load_pipeline

        pipeline = load_pipeline(cfg, args.checkpoint)
        if not hasattr(pipeline, "predict") or "image_size" not in cfg:
            raise ConfigError(f"{args.config}: not a model of images with an image_size.")
        taken = {Path(name).resolve() for name in args.inputs}
        for name in args.inputs:
            predict_input(pipeline, cfg, Path(name), Path(args.out), args.batch_size, taken)
    except (ConfigError, OSError, ValueError) as error:
        print(f"{NEXT_LINE}error: {error}", file=sys.stderr)
        return 2
    return 0


def predict_input(
    pipeline: object, cfg: dict, path: Path, out: Path, batch_size: int, taken: set[Path]
) -> None:
    """Write overlay and CSV of one input; video frames stream through, one batch at a time."""
    import numpy as np

    from components.io.annotations import VISIBLE, make_annotations, write_csv
    from components.io.draw import draw_landmarks, limbs, write_png
    from components.io.video import VideoReader, is_image, natural, read_image, write_video

    if not path.exists():
        raise FileNotFoundError(
            f"no input '{path}'. Give an image, a folder of images, or a video."
        )
    files, points, sizes = [], [], []

    def drawn(frames: Iterator, names: Iterator) -> Iterator:
        for frame, pixels in stream(pipeline, cfg, frames, batch_size):
            files.append(next(names))
            points.append(pixels)
            sizes.append(frame.shape[1::-1])
            if NEXT_LINE:
                print(f"\r{path}: {len(files)} frames", end="", file=sys.stderr)
            yield draw_landmarks(frame, pixels, limbs(cfg))

    if path.is_dir() or is_image(path):
        images = (
            sorted((f for f in path.iterdir() if is_image(f)), key=natural)
            if path.is_dir()
            else [path]
        )
        if not images:
            raise FileNotFoundError(f"no image in folder '{path}'. Give images or a video.")
        taken |= {image.resolve() for image in images}
        pictures = drawn(map(read_image, images), (image.name for image in images))
        folder = out / path.name if path.is_dir() else out
        for image, picture in zip(images, pictures):
            write_png(claim(folder / f"{image.stem}.png", taken), picture)
    else:
        reader = VideoReader(path)
        out.mkdir(parents=True, exist_ok=True)
        names = (f"{path.stem}/{i:06d}" for i in range(10**9))
        target = claim(out / f"{path.stem}.mp4", taken)
        write_video(target, drawn(iter(reader), names), reader.fps)
    count = points[0].shape[0]
    names = [f"landmark_{k}" for k in range(count)]
    visible = np.full((len(files), count), VISIBLE)
    table = make_annotations(names, files, np.stack(points), visible, sizes, limbs(cfg))
    target = claim(out / f"{path.stem}.csv", taken)
    write_csv(target, table)
    print(f"{NEXT_LINE}{target}: {len(files)} frames, {count} landmarks", file=sys.stderr)


def claim(target: Path, taken: set[Path]) -> Path:
    """Return the path of a result; it never replaces an input or the result of another one."""
    if target.resolve() in taken:
        raise ValueError(
            f"'{target}' is an input, or a result of another one. Give another --out, or rename."
        )
    taken.add(target.resolve())
    return target


def stream(pipeline: object, cfg: dict, frames: Iterator, batch_size: int) -> Iterator:
    """Yield each frame with its landmarks (K, 2) in its own pixels."""
    import numpy as np
    import torch

    from components.io.fit import fit_image, fit_options, to_pixels

    options = fit_options(cfg)
    device = next(pipeline.parameters()).device
    while batch := list(islice(frames, max(batch_size, 1))):
        fitted = [fit_image(frame, cfg["image_size"], **options) for frame in batch]
        images = torch.from_numpy(np.stack([image for image, _ in fitted])).to(device)
        xy = (
            pipeline.predict(images.permute(0, 3, 1, 2).float() / 255)
            .landmarks.xy.float()
            .cpu()
            .numpy()
        )
        for frame, (_, affine), found in zip(batch, fitted, xy):
            yield frame, to_pixels(found, affine)


if __name__ == "__main__":
    sys.exit(main())
