"""Make the moving picture of the README: `python docs/make_figures.py`.

Three bundled models on two generated test clips that no model was trained on; about a minute on one
CPU core. The clips are fixed by number and nothing is chosen frame by frame.
"""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor
from torch.nn import functional as F

import registry
import zoo
from components.drawing import colours, overlay, to_uint8
from components.ops.grid import to_pixels

FIGURES = Path(__file__).parent / "figures"
CLIPS = ((4, 11), (8, 9))  # test clips: the video, and the one whose first frame is moved
FRAMES, CELL, GAP, TITLE = 32, 124, 4, 22
TITLES = ("video", "named joints", "landmarks", "mask", "background", "a picture", "moves along")


def main(folder: Path = FIGURES) -> None:
    """Write puppets.gif into a folder."""
    names = ("keypointgan-puppets", "factorized-puppets", "fomm-puppets")
    joints, factors, motion = (zoo.load(name) for name in names)
    puppets = registry.build({"type": "datasets/puppets", "split": "test"})
    rows = []
    for number, other in CLIPS:
        video, still = clip(puppets, number), clip(puppets, other)[0]
        drawn = factors.predict(video).drawn
        layers = factors.compose(video[:1].expand_as(video), drawn).layers
        found = [model.predict(video).landmarks.xy for model in (joints, factors)]
        columns = [
            cells(video),
            [overlay(*two, joints.limbs()) for two in zip(enlarged(video), found[0])],
            [dotted(*two) for two in zip(cells(video), found[1])],
            cells(layers.mask),
            cells(layers.background),
            cells(still.expand_as(video)),
            cells(motion.transfer(still, video, video[0])),
        ]
        rows.append(columns)
    folder.mkdir(exist_ok=True)
    # forth and back, and one palette for all, so that pixels that stay are not written again
    order = [*range(0, FRAMES, 2), *range(FRAMES - 3, 0, -2)]
    pages = [sheet(rows, t) for t in order]
    palette = pages[0].quantize(255, Image.Quantize.MEDIANCUT)
    first, *later = [page.quantize(palette=palette, dither=Image.Dither.NONE) for page in pages]
    first.save(folder / "puppets.gif", save_all=True, append_images=later, duration=110, loop=0)


def clip(puppets, number: int) -> Tensor:
    """Return the frames of a clip, (T, 3, H, W) in [0, 1]."""
    frames = [puppets.image(number * FRAMES + t) for t in range(FRAMES)]
    return torch.from_numpy(np.stack(frames)).permute(0, 3, 1, 2).float() / 255


def enlarged(images: Tensor) -> Tensor:
    """Return images at the size of a cell."""
    return F.interpolate(images, size=(CELL, CELL), mode="bicubic", antialias=True)


def cells(images: Tensor) -> list[np.ndarray]:
    """Return images (T, 1 or 3, H, W) in [0, 1] as pictures."""
    return [to_uint8(image) for image in enlarged(images)]


def dotted(picture: np.ndarray, xy: Tensor) -> np.ndarray:
    """Return a picture with landmarks (K, 2) as dots with a white rim."""
    points = (to_pixels(xy, CELL, CELL) * 16).round().int().tolist()  # 4 fractional bits
    for point, colour in zip(points, colours(len(points)).tolist()):
        for radius, filled in ((62, (255, 255, 255)), (44, colour)):
            cv2.circle(picture, point, radius, filled, -1, cv2.LINE_AA, 4)
    return picture


def sheet(rows, t: int) -> Image.Image:
    """Return frame t of every column of every row, under the titles."""
    step = CELL + GAP
    page = Image.new("RGB", (len(TITLES) * step - GAP, TITLE + len(rows) * step - GAP), "white")
    draw, font = ImageDraw.Draw(page), ImageFont.load_default(13)
    for x, title in enumerate(TITLES):
        draw.text((x * step + CELL / 2, TITLE / 2), title, (40, 40, 40), font, "mm")
        for y, columns in enumerate(rows):
            page.paste(Image.fromarray(columns[x][t]), (x * step, TITLE + y * step))
    return page


if __name__ == "__main__":
    main()
