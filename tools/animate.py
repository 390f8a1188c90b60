#!/usr/bin/env python
"""Animate a picture with a video: ``tools/animate.py RUN face.png talk.mp4 --out out.mp4``.

The same as ``keypoint-zoo animate``.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from zoo.cli import main

if __name__ == "__main__":
    sys.exit(main(["animate", *sys.argv[1:]]))
