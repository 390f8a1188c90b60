#!/usr/bin/env python
"""Find landmarks in images, folders and videos.

``tools/predict.py CONFIG --checkpoint work_dirs/X/last.pth my_video.mp4 photos/ --out results/`` writes,
for each input, a picture or video with the landmarks drawn on it and a CSV in its original pixels.
"""

import argparse
import sys
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from registry import ConfigError, load_config


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
        from registry.runner import load_pipeline

        pipeline = load_pipeline(cfg, args.checkpoint)
        for name in args.inputs:
            predict_input(pipeline, cfg, Path(name), Path(args.out), args.batch_size)
    except (ConfigError, OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def predict_input(pipeline: object, cfg: dict, path: Path, out: Path, batch_size: int) -> None:
    """Write overlay and CSV of one input; video frames stream through, one batch at a time."""
    import numpy as np

    from components.io.annotations import VISIBLE, make_annotations, write_csv
    from components.io.draw import draw_landmarks, write_png
    from components.io.video import VideoReader, is_image, natural, read_image, write_video

    if not path.exists():
        raise FileNotFoundError(
            f"no input '{path}'. Give an image, a folder of images, or a video."
        )
    edges = cfg["model"].get("rasterizer", {}).get("edges", ())
    files, points, sizes = [], [], []

    def drawn(frames: Iterator, names: Iterator) -> Iterator:
        for frame, pixels in stream(pipeline, cfg, frames, batch_size):
            files.append(next(names))
            points.append(pixels)
            sizes.append(frame.shape[1::-1])
            print(f"\r{path}: {len(files)} frames", end="", file=sys.stderr)
            yield draw_landmarks(frame, pixels, edges)

    if path.is_dir() or is_image(path):
        images = (
            sorted((f for f in path.iterdir() if is_image(f)), key=natural)
            if path.is_dir()
            else [path]
        )
        if not images:
            raise FileNotFoundError(f"no image in folder '{path}'. Give images or a video.")
        pictures = drawn(map(read_image, images), (image.name for image in images))
        folder = out / path.name if path.is_dir() else out
        for image, picture in zip(images, pictures):
            write_png(folder / f"{image.stem}.png", picture)
    else:
        reader = VideoReader(path)
        out.mkdir(parents=True, exist_ok=True)
        names = (f"{path.stem}/{i:06d}" for i in range(10**9))
        write_video(out / f"{path.stem}.mp4", drawn(iter(reader), names), reader.fps or 25)
    count = points[0].shape[0]
    names = [f"landmark_{k}" for k in range(count)]
    visible = np.full((len(files), count), VISIBLE)
    table = make_annotations(names, files, np.stack(points), visible, sizes, edges)
    write_csv(out / f"{path.stem}.csv", table)
    print(f"\n{out}/{path.stem}.csv: {len(files)} frames, {count} landmarks", file=sys.stderr)


def stream(pipeline: object, cfg: dict, frames: Iterator, batch_size: int) -> Iterator:
    """Yield each frame with its landmarks (K, 2) in its own pixels."""
    import numpy as np
    import torch

    from components.io.fit import fit_image, to_pixels

    data = cfg.get("data", {})
    shown = data.get("test") or data.get("train") or {}
    options = {k: shown[k] for k in ("fit", "crop") if k in shown}
    device = next(pipeline.parameters()).device
    while batch := list(islice(frames, batch_size)):
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
