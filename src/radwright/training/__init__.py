"""The training loop and the engine under it."""
