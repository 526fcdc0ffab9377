"""The composition root: the one place where datasets, method, objective and engine meet."""
