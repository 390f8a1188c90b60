"""One thread: the tests are many and small, and must not depend on the number of cores."""

import os
import sys
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).parents[1]))

import cv2
import torch

torch.set_num_threads(1)
cv2.setNumThreads(0)
