#!/usr/bin/env python
"""Measure speed: ``tools/benchmark.py --rounds 7``.

The same as ``keypoint-zoo benchmark``.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from zoo.cli import main

if __name__ == "__main__":
    sys.exit(main(["benchmark", *sys.argv[1:]]))
