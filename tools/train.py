#!/usr/bin/env python
"""Train a config: ``tools/train.py configs/keypointgan_puppets.py``.

The same as ``keypoint-zoo train``.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from zoo.cli import main

if __name__ == "__main__":
    sys.exit(main(["train", *sys.argv[1:]]))
