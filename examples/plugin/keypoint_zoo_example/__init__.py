"""A plugin of keypoint-zoo: one encoder and one model trained with it."""
