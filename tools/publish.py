#!/usr/bin/env python
"""Publish a run: ``tools/publish.py work_dirs/mine me/mine --license apache-2.0``.

The same as ``keypoint-zoo publish``.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from zoo.cli import main

if __name__ == "__main__":
    sys.exit(main(["publish", *sys.argv[1:]]))
