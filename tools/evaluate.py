#!/usr/bin/env python
"""Score a model: ``tools/evaluate.py work_dirs/keypointgan_puppets``.

The same as ``keypoint-zoo evaluate``.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from zoo.cli import main

if __name__ == "__main__":
    sys.exit(main(["evaluate", *sys.argv[1:]]))
