#!/usr/bin/env python
"""Find the code of an equation: ``tools/where.py keypointgan 2``.

The same as ``keypoint-zoo where``.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from zoo.cli import main

if __name__ == "__main__":
    sys.exit(main(["where", *sys.argv[1:]]))
