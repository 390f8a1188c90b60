#!/usr/bin/env python
"""Precompute data for training: ``tools/prepare.py flow configs/fomm_vox_flow.py``.

The same as ``keypoint-zoo prepare``.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from zoo.cli import main

if __name__ == "__main__":
    sys.exit(main(["prepare", *sys.argv[1:]]))
