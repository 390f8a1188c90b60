"""The tests that every registered component must pass, and the inputs they are made with."""
