"""The same work over many processes and machines, on Ray: drafting and preparing, piece by piece, exactly once."""
