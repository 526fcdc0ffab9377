"""stub for experiments"""

import torch
from torch import nn

from radwright.nn.attention import EncoderLayer, additive
from radwright.nn.decoder import TokenEmbedding
from radwright.nn.folder import FolderConfig, FolderPart


class TextEncoderConfig(FolderConfig):
    dim: int = 128
    num_layers: int = 2
    num_heads: int = 4
    hidden_dim: int = 256
    dropout: float = 0.1
    max_tokens: int = 64


class TextEncoder(FolderPart):
    def __init__(self, config, tokenizer):
        super().__init__(config)
        self.config = config
        self.tokenizer = tokenizer
        self.dim = config.dim
        self.embedding = TokenEmbedding(tokenizer.vocab_size, config.dim, config.dropout, nn.LayerNorm)
        self.layers = nn.ModuleList(
            EncoderLayer(config.dim, config.num_heads, config.hidden_dim, config.dropout, nn.LayerNorm)
            for _ in range(config.num_layers)
        )
        self.norm = nn.LayerNorm(config.dim)

    def encode(self, texts):
        ids = [self.tokenizer.encode(t)[: self.config.max_tokens] or [self.tokenizer.pad_id] for t in texts]
        L = max(map(len, ids))
        dev = self.norm.weight.device
        x = torch.full((len(ids), L), self.tokenizer.pad_id, dtype=torch.long)
        keep = torch.zeros(len(ids), L, dtype=torch.bool)
        for r, i in enumerate(ids):
            x[r, : len(i)] = torch.tensor(i)
            keep[r, : len(i)] = True
        x, keep = x.to(dev), keep.to(dev)
        h = self.embedding(x)
        m = additive(keep[:, None, None], h.dtype)
        for l in self.layers:
            h = l(h, m)
        h = self.norm(h)
        return (h * keep.unsqueeze(-1)).sum(1) / keep.sum(1, keepdim=True)
