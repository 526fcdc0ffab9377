"""The published systems, as parts that the composition root puts together."""
