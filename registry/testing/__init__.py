"""The tests that every registered component must pass, and their example inputs."""
