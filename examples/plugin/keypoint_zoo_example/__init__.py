"""A plugin of keypoint-zoo: one encoder and a config that trains it."""
