"""The checkpoint directory and the Predictor."""
