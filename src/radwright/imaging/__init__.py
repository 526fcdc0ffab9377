"""From encoded bytes to the tensor a network sees."""
