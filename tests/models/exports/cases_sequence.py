# ruff: noqa: TID253 - part of make_exports.py
"""Sequence networks: language-model blocks, recurrent layers in every direction, one-dimensional convolutions."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from case import Case, Fn, f, i
from torch import nn


class Bert(nn.Module):
    """Token, position and type embeddings, two encoder layers with an additive mask, pooler."""

    def __init__(self, width: int = 16, heads: int = 2, vocabulary: int = 50, longest: int = 16):
        super().__init__()
        self.heads = heads
        self.word, self.kind = nn.Embedding(vocabulary, width), nn.Embedding(2, width)
        self.position = nn.Embedding(longest, width)
        self.norm = nn.LayerNorm(width)
        self.layers = nn.ModuleList()
        for _ in range(2):
            parts = {k: nn.Linear(width, width) for k in ("query", "key", "value", "out")}
            parts |= {"norm1": nn.LayerNorm(width), "up": nn.Linear(width, 24), "down": nn.Linear(24, width)}
            self.layers.append(nn.ModuleDict(parts | {"norm2": nn.LayerNorm(width)}))
        self.pooler = nn.Linear(width, 3)

    def split(self, x):
        return x.view(x.shape[0], x.shape[1], self.heads, -1).permute(0, 2, 1, 3)

    def forward(self, input_ids, attention_mask, token_type_ids):
        positions = torch.arange(input_ids.shape[1])[None]
        x = self.norm(self.word(input_ids) + self.kind(token_type_ids) + self.position(positions))
        mask = (1.0 - attention_mask[:, None, None, :].float()) * -10000.0
        for m in self.layers:
            q, k, v = (self.split(m[name](x)) for name in ("query", "key", "value"))
            weights = (q @ k.transpose(-1, -2) / (q.shape[-1] ** 0.5) + mask).softmax(-1)
            x = m["norm1"](x + m["out"]((weights @ v).permute(0, 2, 1, 3).flatten(2)))
            x = m["norm2"](x + m["down"](F.gelu(m["up"](x))))
        return x, torch.tanh(self.pooler(x[:, 0]))


class Gpt(nn.Module):
    """Pre-norm decoder with a causal mask from a buffer, tanh GELU and tied output weights."""

    def __init__(self, width: int = 16, heads: int = 2, vocabulary: int = 40, longest: int = 16):
        super().__init__()
        self.heads = heads
        self.word, self.position = nn.Embedding(vocabulary, width), nn.Embedding(longest, width)
        self.norm1, self.norm2, self.norm3 = (nn.LayerNorm(width) for _ in range(3))
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, 32), nn.Linear(32, width)
        self.register_buffer("causal", torch.tril(torch.ones(longest, longest, dtype=torch.bool)))

    def forward(self, input_ids):
        n, length = input_ids.shape
        x = self.word(input_ids) + self.position(torch.arange(length))
        q, k, v = (t.view(n, length, self.heads, -1).transpose(1, 2) for t in self.qkv(self.norm1(x)).chunk(3, -1))
        weights = q @ k.transpose(-2, -1) * (q.shape[-1] ** -0.5)
        weights = weights.masked_fill(~self.causal[:length, :length], float("-inf")).softmax(-1)
        x = x + self.out((weights @ v).transpose(1, 2).reshape(n, length, -1))
        x = x + self.down(F.gelu(self.up(self.norm2(x)), approximate="tanh"))
        return self.norm3(x) @ self.word.weight.T


class Llama(nn.Module):
    """RMS normalisation, rotary positions, two query heads for each key head, SwiGLU."""

    def __init__(self, width: int = 16, heads: int = 4, vocabulary: int = 40):
        super().__init__()
        self.heads, self.size = heads, width // heads
        self.word, self.scale = nn.Embedding(vocabulary, width), nn.Parameter(torch.rand(3, width) + 0.5)
        self.q, self.out = nn.Linear(width, width, bias=False), nn.Linear(width, width, bias=False)
        self.k, self.v = (nn.Linear(width, width // 2, bias=False) for _ in range(2))
        self.gate, self.up = (nn.Linear(width, 24, bias=False) for _ in range(2))
        self.down, self.head = nn.Linear(24, width, bias=False), nn.Linear(width, vocabulary, bias=False)
        self.register_buffer("frequency", 1 / 100 ** (torch.arange(0, self.size, 2) / self.size))

    def norm(self, x, k):
        return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6) * self.scale[k]

    def rotate(self, x, cos, sin):
        a, b = x.chunk(2, -1)
        return x * cos + torch.cat((-b, a), -1) * sin

    def forward(self, input_ids):
        n, length = input_ids.shape
        x = self.word(input_ids)
        angles = torch.arange(length)[:, None].float() * self.frequency[None]
        angles = torch.cat((angles, angles), -1)
        cos, sin = angles.cos(), angles.sin()
        y = self.norm(x, 0)
        q, k, v = (m(y).view(n, length, -1, self.size).transpose(1, 2) for m in (self.q, self.k, self.v))
        q, k = self.rotate(q, cos, sin), self.rotate(k, cos, sin)
        k, v = (t[:, :, None].expand(n, 2, 2, length, self.size).reshape(n, 4, length, self.size) for t in (k, v))
        mask = torch.full((length, length), float("-inf")).triu(1)
        weights = (q @ k.transpose(2, 3) / self.size**0.5 + mask).softmax(-1)
        x = x + self.out((weights @ v).transpose(1, 2).reshape(n, length, -1))
        y = self.norm(x, 1)
        x = x + self.down(F.silu(self.gate(y)) * self.up(y))
        return self.head(self.norm(x, 2))


class CachedDecoder(nn.Module):
    """One decoding step: the new token attends to the cache, which comes in and goes out longer."""

    def __init__(self, width: int = 8, vocabulary: int = 20):
        super().__init__()
        self.word, self.qkv = nn.Embedding(vocabulary, width), nn.Linear(width, 3 * width)
        self.head = nn.Linear(width, vocabulary)

    def forward(self, input_ids, past_key, past_value):
        n, length = input_ids.shape
        q, k, v = (t.view(n, length, 2, 4).transpose(1, 2) for t in self.qkv(self.word(input_ids)).split(8, -1))
        k, v = torch.cat((past_key, k), 2), torch.cat((past_value, v), 2)
        x = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(n, length, 8)
        return self.head(x), k, v


class TemporalConvNet(nn.Module):
    """Causal dilated convolutions with residuals (weights as they come out of weight_norm)."""

    def __init__(self, channels: int = 6):
        super().__init__()
        self.enter = nn.Conv1d(3, channels, 1)
        self.layers = nn.ModuleList(nn.Conv1d(channels, channels, 3, dilation=d) for d in (1, 2, 4))
        self.head = nn.Linear(channels, 4)

    def forward(self, signal):
        x = self.enter(signal)
        for layer in self.layers:
            x = x + F.relu(layer(F.pad(x, (2 * layer.dilation[0], 0))))
        return self.head(x[:, :, -1])


class ConformerConv(nn.Module):
    """The convolution module of a Conformer: GLU, depthwise convolution, BatchNorm, SiLU."""

    def __init__(self, width: int = 8):
        super().__init__()
        self.norm, self.enter, self.leave = nn.LayerNorm(width), nn.Conv1d(width, 2 * width, 1), nn.Conv1d(width, 8, 1)
        self.depthwise, self.bn = nn.Conv1d(width, width, 5, padding=2, groups=width), nn.BatchNorm1d(width)

    def forward(self, x):
        y = F.glu(self.enter(self.norm(x).transpose(1, 2)), dim=1)
        return x + self.leave(F.silu(self.bn(self.depthwise(y)))).transpose(1, 2)


def recurrent(layer: nn.RNNBase, head: int | None = None):
    """The layer's output and last states, with zero initial states."""

    def run(m, x):
        y, states = m.rnn(x)
        return (m.head(y), *(states if isinstance(states, tuple) else (states,)))

    width = layer.hidden_size * (2 if layer.bidirectional else 1)
    return Fn(run, rnn=layer, head=nn.Linear(width, head) if head else nn.Identity())


def initial_states(m, x, h, c):
    y, (h, c) = m.rnn(x, (h, c))
    return y, h, c


def lengths_lstm(m, x, lengths):
    packed = nn.utils.rnn.pack_padded_sequence(x, lengths, enforce_sorted=False)
    y, (h, c) = m.rnn(packed)
    return nn.utils.rnn.pad_packed_sequence(y, total_length=7)[0], h, c


def mean_embedding(m, ids, mask):
    weights = mask.unsqueeze(-1).float()
    x = (m.word(ids) * weights).sum(1) / weights.sum(1).clamp(min=1e-9)
    return F.normalize(m.head(x), dim=-1)


def einsum_attention(m, x):
    q, k, v = (layer(x).unflatten(-1, (2, 4)) for layer in (m.q, m.k, m.v))
    weights = torch.einsum("bihd,bjhd->bhij", q, k).softmax(-1)
    return torch.einsum("bhij,bjhd->bihd", weights, v).flatten(2)


def encoder_decoder(m, source, target):
    memory = m.encoder(source)
    causal = torch.triu(torch.full((5, 5), float("-inf")), 1)
    return m.decoder(target, memory, tgt_mask=causal)


IDS = {"input_ids": i(2, 8, below=40)}
TOKENS = {0: "batch", 1: "length"}
BERT = {"input_ids": i(2, 8, below=50), "attention_mask": i(2, 8, below=2), "token_type_ids": i(2, 8, below=2)}
STEPS = {"x": f(7, 2, 5)}  # time, batch, features
TS = ("ts17",)

CASES = [
    Case("bert", Bert, BERT, ("ts13",), outputs=("hidden", "pooled")),
    Case(
        "bert_dynamic",
        Bert,
        BERT,
        ("ts17", "dynamo"),
        dict.fromkeys(BERT, TOKENS),
        (dict.fromkeys(BERT, (3, 11)),),
    ),
    Case("gpt", Gpt, IDS, ("dynamo",)),
    Case("gpt_dynamic", Gpt, IDS, ("ts13",), {"input_ids": TOKENS}, ({"input_ids": (1, 13)},)),
    Case("llama", Llama, IDS, ("dynamo",)),
    Case(
        "cached_decoder",
        CachedDecoder,
        {"input_ids": i(1, 1, below=20), "past_key": f(1, 2, 6, 4), "past_value": f(1, 2, 6, 4)},
        ("ts17", "dynamo"),
        {"past_key": {2: "past"}, "past_value": {2: "past"}},
        ({"past_key": (1, 2, 9, 4), "past_value": (1, 2, 9, 4)},),
        outputs=("logits", "key", "value"),
    ),
    Case(
        "encoder_decoder",
        lambda: Fn(
            encoder_decoder,
            encoder=nn.TransformerEncoderLayer(8, 2, 16, 0.0, batch_first=True, norm_first=True),
            decoder=nn.TransformerDecoderLayer(8, 2, 16, 0.0, batch_first=True),
        ),
        {"source": f(2, 6, 8), "target": f(2, 5, 8)},
        ("dynamo",),
    ),
    Case(
        "einsum_attention",
        lambda: Fn(einsum_attention, q=nn.Linear(8, 8), k=nn.Linear(8, 8), v=nn.Linear(8, 8)),
        {"x": f(2, 5, 8)},
        ("ts13",),
    ),
    Case(
        "embedding_mean",
        lambda: Fn(mean_embedding, word=nn.Embedding(30, 8, padding_idx=0), head=nn.Linear(8, 6)),
        {"ids": i(3, 7, below=30), "mask": i(3, 7, below=2)},
        ("ts11",),
    ),
    Case("lstm", lambda: recurrent(nn.LSTM(5, 6), 3), STEPS, ("ts11", "dynamo")),
    Case("lstm_bidirectional_2_layers", lambda: recurrent(nn.LSTM(5, 4, 2, bidirectional=True), 3), STEPS, TS),
    Case(
        "lstm_batch_first_initial_states",
        lambda: Fn(initial_states, rnn=nn.LSTM(5, 4, 2, batch_first=True, bidirectional=True)),
        {"x": f(2, 7, 5), "h0": f(4, 2, 4), "c0": f(4, 2, 4)},
        ("ts17", "dynamo"),
    ),
    Case(
        "lstm_dynamic",
        lambda: recurrent(nn.LSTM(5, 6, batch_first=True), 3),
        {"x": f(2, 7, 5)},
        TS,
        {"x": {0: "batch", 1: "time"}},
        ({"x": (3, 4, 5)},),
    ),
    Case(
        "lstm_lengths",
        lambda: Fn(lengths_lstm, rnn=nn.LSTM(5, 4, bidirectional=True)),
        {"x": f(7, 3, 5), "lengths": i(3, low=1, below=8)},
        ("ts13",),
    ),
    Case("gru", lambda: recurrent(nn.GRU(5, 6), 3), STEPS, ("ts13",)),
    Case(
        "gru_bidirectional_2_layers",
        lambda: recurrent(nn.GRU(5, 4, 2, batch_first=True, bidirectional=True), 3),
        {"x": f(2, 7, 5)},
        TS,
    ),
    Case(
        "gru_initial_state",
        lambda: Fn(lambda m, x, h: m.rnn(x, h), rnn=nn.GRU(5, 4, bias=False)),
        STEPS | {"h0": f(1, 2, 4)},
        ("ts11",),
    ),
    Case("rnn_tanh", lambda: recurrent(nn.RNN(5, 6), 3), STEPS, TS),
    Case("rnn_relu_bidirectional", lambda: recurrent(nn.RNN(5, 4, nonlinearity="relu", bidirectional=True)), STEPS, TS),
    Case("tcn", TemporalConvNet, {"signal": f(1, 3, 32)}, ("ts13",)),
    Case(
        "conv1d_stack",
        lambda: nn.Sequential(
            nn.Conv1d(2, 6, 5, 2, padding=2, bias=False),
            nn.BatchNorm1d(6),
            nn.ReLU(),
            nn.MaxPool1d(2),
            nn.Conv1d(6, 8, 3, groups=2),
            nn.AvgPool1d(2),
            nn.Flatten(),
            nn.Linear(24, 4),
        ),
        {"signal": f(1, 2, 32)},
        ("ts11",),
    ),
    Case("conformer_convolution", ConformerConv, {"x": f(1, 12, 8)}, ("ts17",)),
    Case(
        "conv_transpose1d",
        lambda: nn.Sequential(
            nn.ConvTranspose1d(4, 6, 4, 2, 1),
            nn.LeakyReLU(0.1),
            nn.ConvTranspose1d(6, 4, 3, 3, output_padding=1, groups=2),
            nn.Tanh(),
        ),
        {"signal": f(1, 4, 9)},
        ("ts17",),
    ),
]
