"""From files on disk to a prepared store and batches."""
