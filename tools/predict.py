#!/usr/bin/env python
"""Find landmarks: ``tools/predict.py factorized-puppets my_video.mp4 --out results/``.

The same as ``keypoint-zoo predict``.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from zoo.cli import main

if __name__ == "__main__":
    sys.exit(main(["predict", *sys.argv[1:]]))
