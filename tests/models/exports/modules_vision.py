# ruff: noqa: TID253 - part of make_exports.py
"""What the cases of vision are made of."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from case import conv, conv_bn
from torch import nn


class InvertedResidual(nn.Module):
    def __init__(self, channels: int, wide: int):
        super().__init__()
        self.expand = conv_bn(channels, wide, 1, act=nn.Hardswish)
        self.depthwise = conv_bn(wide, wide, 3, groups=wide, act=nn.Hardswish)
        squeeze = [nn.AdaptiveAvgPool2d(1), nn.Conv2d(wide, 4, 1), nn.ReLU(), nn.Conv2d(4, wide, 1), nn.Hardsigmoid()]
        self.gate = nn.Sequential(*squeeze)
        self.project = conv_bn(wide, channels, 1, act=None)

    def forward(self, x):
        y = self.depthwise(self.expand(x))
        return x + self.project(y * self.gate(y))


class ShuffleUnit(nn.Module):
    def __init__(self, channels: int):
        super().__init__()
        half = channels // 2
        layers = [conv_bn(half, half, 1), conv_bn(half, half, 3, groups=half, act=None), conv_bn(half, half, 1)]
        self.branch = nn.Sequential(*layers)

    def forward(self, x):
        left, right = x.chunk(2, dim=1)
        x = torch.cat([left, self.branch(right)], 1)
        n, c, h, w = x.shape
        return x.view(n, 2, c // 2, h, w).transpose(1, 2).contiguous().view(n, c, h, w)


class DenseBlock(nn.Module):
    def __init__(self, channels: int, growth: int, layers: int):
        super().__init__()
        sizes = [channels + growth * k for k in range(layers)]
        self.layers = nn.ModuleList(nn.Sequential(nn.BatchNorm2d(c), nn.ReLU(), conv(c, growth)) for c in sizes)

    def forward(self, x):
        for layer in self.layers:
            x = torch.cat([x, layer(x)], 1)
        return x


class ResidualBlock(nn.Module):
    def __init__(self, cin: int, cout: int, stride: int):
        super().__init__()
        self.body = nn.Sequential(conv_bn(cin, cout, 3, stride), conv_bn(cout, cout, act=None))
        self.short = conv_bn(cin, cout, 1, stride, act=None) if stride > 1 else nn.Identity()

    def forward(self, x):
        return F.relu(self.body(x) + self.short(x))


class UNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.enter, self.down, self.deep = conv_bn(3, 4), conv_bn(4, 8), conv_bn(8, 8)
        self.up1, self.merge1 = nn.ConvTranspose2d(8, 8, 2, 2), conv_bn(16, 8)
        self.up2, self.merge2 = nn.ConvTranspose2d(8, 4, 4, 2, 1), conv_bn(8, 4)
        self.head = nn.Conv2d(4, 2, 1)

    def forward(self, x):
        a = self.enter(x)
        c = self.down(F.max_pool2d(a, 2))
        d = self.up1(self.deep(F.max_pool2d(c, 2)))
        d = self.up2(self.merge1(torch.cat([d, c], 1)))
        return self.head(self.merge2(torch.cat([d, a], 1)))


class FPN(nn.Module):
    """Three levels; the finer ones take the coarser, resized by factor or to the finer one's size."""

    def __init__(self, mode: str, align_corners: bool | None = None, by_size: bool = False):
        super().__init__()
        self.options = {"mode": mode} | ({"align_corners": align_corners} if mode != "nearest" else {})
        self.by_size = by_size
        self.stages = nn.ModuleList([conv_bn(3, 4, 3, 2), conv_bn(4, 6, 3, 2), conv_bn(6, 8, 3, 2)])
        self.lateral = nn.ModuleList(nn.Conv2d(c, 4, 1) for c in (4, 6, 8))

    def forward(self, x):
        levels = []
        for stage in self.stages:
            x = stage(x)
            levels.append(x)
        outputs = [self.lateral[2](levels[2])]
        for k in (1, 0):
            to = {"size": levels[k].shape[-2:]} if self.by_size else {"scale_factor": 2.0}
            outputs.append(self.lateral[k](levels[k]) + F.interpolate(outputs[-1], **to, **self.options))
        return tuple(outputs)


class AsppHead(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = conv_bn(3, 6, 3, 4)
        self.rates = nn.ModuleList(conv(6, 4, padding=r, dilation=r) for r in (1, 2, 3))
        self.image = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(6, 4, 1), nn.ReLU())
        self.head = nn.Conv2d(16, 3, 1)

    def forward(self, x):
        y = self.stem(x)
        image = F.interpolate(self.image(y), size=y.shape[-2:], mode="bilinear", align_corners=False)
        y = self.head(torch.cat([F.relu(r(y)) for r in self.rates] + [image], 1))
        return F.interpolate(y, size=x.shape[-2:], mode="bilinear", align_corners=False)


class Attention(nn.Module):
    """Multi-head self-attention written out, as vision transformers do."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads, self.qkv, self.out = heads, nn.Linear(width, 3 * width), nn.Linear(width, width)

    def forward(self, x):
        n, length, width = x.shape
        q, k, v = self.qkv(x).reshape(n, length, 3, self.heads, width // self.heads).permute(2, 0, 3, 1, 4)
        weights = (q @ k.transpose(-2, -1) * (width // self.heads) ** -0.5).softmax(-1)
        return self.out((weights @ v).transpose(1, 2).reshape(n, length, width))


class TransformerBlock(nn.Module):
    def __init__(self, width: int, heads: int):
        super().__init__()
        self.norm1, self.attention, self.norm2 = nn.LayerNorm(width), Attention(width, heads), nn.LayerNorm(width)
        self.mlp = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))

    def forward(self, x):
        x = x + self.attention(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class ViT(nn.Module):
    def __init__(self, width: int = 16, patches: int = 16):
        super().__init__()
        self.patch = nn.Conv2d(3, width, 4, 4)
        self.cls = nn.Parameter(torch.randn(1, 1, width))
        self.position = nn.Parameter(torch.randn(1, patches + 1, width))
        self.blocks = nn.Sequential(TransformerBlock(width, 2), TransformerBlock(width, 4))
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, 5)

    def forward(self, x):
        x = self.patch(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.cls.expand(x.shape[0], -1, -1), x], 1) + self.position
        return self.head(self.norm(self.blocks(x))[:, 0])


class SwinBlock(nn.Module):
    def __init__(self, width: int = 8, window: int = 4, shift: int = 2):
        super().__init__()
        self.window, self.shift = window, shift
        self.patch, self.norm, self.attention = nn.Conv2d(3, width, 2, 2), nn.LayerNorm(width), Attention(width, 2)
        self.merge = nn.Linear(4 * width, 2 * width, bias=False)

    def forward(self, x):
        x = self.patch(x).permute(0, 2, 3, 1)
        n, h, w, c = x.shape
        k, s = self.window, self.shift
        y = torch.roll(self.norm(x), (-s, -s), (1, 2))
        y = y.view(n, h // k, k, w // k, k, c).permute(0, 1, 3, 2, 4, 5).reshape(-1, k * k, c)
        y = self.attention(y).view(n, h // k, w // k, k, k, c).permute(0, 1, 3, 2, 4, 5).reshape(n, h, w, c)
        x = x + torch.roll(y, (s, s), (1, 2))
        corners = [x[:, a::2, b::2] for b in (0, 1) for a in (0, 1)]
        return self.merge(torch.cat(corners, -1)).permute(0, 3, 1, 2)


class YoloHead(nn.Module):
    """Two levels, three anchors each, decoded to boxes in pixels and concatenated."""

    def __init__(self, classes: int = 2):
        super().__init__()
        self.width = classes + 5
        self.fine, self.coarse = conv_bn(3, 6, 3, 4, act=nn.SiLU), conv_bn(6, 8, 3, 2, act=nn.SiLU)
        self.heads = nn.ModuleList(nn.Conv2d(c, 3 * self.width, 1) for c in (6, 8))
        self.register_buffer("anchors", torch.rand(2, 1, 3, 1, 1, 2) * 20 + 4)

    def forward(self, x):
        fine = self.fine(x)
        rows = []
        for k, (y, stride) in enumerate(((fine, 4), (self.coarse(fine), 8))):
            n, _, h, w = y.shape
            y = self.heads[k](y).view(n, 3, self.width, h, w).permute(0, 1, 3, 4, 2).sigmoid()
            gy, gx = torch.meshgrid(torch.arange(h), torch.arange(w), indexing="ij")
            xy = (y[..., 0:2] * 2 - 0.5 + torch.stack((gx, gy), -1)) * stride
            wh = (y[..., 2:4] * 2) ** 2 * self.anchors[k]
            rows.append(torch.cat((xy, wh, y[..., 4:]), -1).view(n, -1, self.width))
        return torch.cat(rows, 1)


class SsdHead(nn.Module):
    def __init__(self, classes: int = 3):
        super().__init__()
        self.classes = classes
        self.stages = nn.ModuleList([conv_bn(3, 4, 3, 4, act=nn.ReLU6), conv_bn(4, 8, 3, 2, act=nn.ReLU6)])
        self.boxes = nn.ModuleList(conv(c, 2 * 4) for c in (4, 8))
        self.scores = nn.ModuleList(conv(c, 2 * classes) for c in (4, 8))

    def forward(self, x):
        boxes, scores = [], []
        for stage, box, score in zip(self.stages, self.boxes, self.scores, strict=True):
            x = stage(x)
            boxes.append(box(x).permute(0, 2, 3, 1).reshape(x.shape[0], -1, 4))
            scores.append(score(x).permute(0, 2, 3, 1).reshape(x.shape[0], -1, self.classes))
        return torch.cat(boxes, 1), torch.cat(scores, 1).softmax(-1)


class Cbam(nn.Module):
    """Attention over channels (two pools, shared MLP), then over space (mean and max of channels)."""

    def __init__(self, channels: int = 8):
        super().__init__()
        self.stem, self.spatial = conv_bn(3, channels), nn.Conv2d(2, 1, 7, padding=3)
        self.mlp = nn.Sequential(nn.Linear(channels, 4), nn.ReLU(), nn.Linear(4, channels))

    def forward(self, x):
        x = self.stem(x)
        gate = self.mlp(x.mean((2, 3))) + self.mlp(x.amax((2, 3)))
        x = x * gate.sigmoid()[:, :, None, None]
        maps = torch.cat([x.mean(1, keepdim=True), x.max(1, keepdim=True)[0]], 1)
        return x * self.spatial(maps).sigmoid()


class ConvNeXtBlock(nn.Module):
    def __init__(self, width: int = 8):
        super().__init__()
        self.stem, self.depthwise = nn.Conv2d(3, width, 4, 4), conv(width, width, 7, groups=width)
        self.norm, self.scale = nn.LayerNorm(width), nn.Parameter(torch.rand(width))
        self.mlp = nn.Sequential(nn.Linear(width, 16), nn.GELU(), nn.Linear(16, width))

    def forward(self, x):
        x = self.stem(x)
        y = self.mlp(self.norm(self.depthwise(x).permute(0, 2, 3, 1))) * self.scale
        return x + y.permute(0, 3, 1, 2)


class SpatialTransformer(nn.Module):
    def __init__(self):
        super().__init__()
        self.locate = nn.Sequential(conv_bn(3, 4, 3, 2), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 6))

    def forward(self, x):
        grid = F.affine_grid(self.locate(x).view(-1, 2, 3), [2, 3, 6, 10], align_corners=False)
        return F.grid_sample(x, grid, mode="bilinear", padding_mode="zeros", align_corners=False)


class MiniDetr(nn.Module):
    """Convolutions, an encoder over the flattened map, learnt queries with cross-attention, two heads."""

    def __init__(self, width: int = 16):
        super().__init__()
        self.stem, self.position = conv_bn(3, width, 3, 4), nn.Parameter(torch.randn(16, 1, width))
        self.encoder = nn.TransformerEncoderLayer(width, 2, 24, dropout=0.0)
        self.queries, self.cross = nn.Parameter(torch.randn(5, 1, width)), nn.MultiheadAttention(width, 4)
        self.classes, self.boxes = nn.Linear(width, 4), nn.Linear(width, 4)

    def forward(self, x):
        memory = self.encoder(self.stem(x).flatten(2).permute(2, 0, 1) + self.position)
        found = self.cross(self.queries.expand(-1, x.shape[0], -1), memory, memory, need_weights=False)[0]
        found = found.transpose(0, 1)
        return self.classes(found), self.boxes(found).sigmoid()


class Crnn(nn.Module):
    """Text recognition: convolutions, columns as a sequence, bidirectional LSTM, log-probabilities."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(conv_bn(1, 4), nn.MaxPool2d(2), conv_bn(4, 8), nn.MaxPool2d((4, 1)))
        self.lstm, self.head = nn.LSTM(8, 6, bidirectional=True), nn.Linear(12, 7)

    def forward(self, x):
        x = self.stem(x).squeeze(2).permute(2, 0, 1)
        return self.head(self.lstm(x)[0]).log_softmax(2)


def superpoint(m, x):
    x = m.head(m.stem(x)).softmax(1)[:, :-1]
    n, _, h, w = x.shape
    return x.permute(0, 2, 3, 1).reshape(n, h, w, 4, 4).permute(0, 1, 3, 2, 4).reshape(n, h * 4, w * 4)


def focus_stem(m, x):
    parts = [x[..., ::2, ::2], x[..., 1::2, ::2], x[..., ::2, 1::2], x[..., 1::2, 1::2]]
    return m.conv(torch.cat(parts, 1))


def pools(m, x):
    a = F.max_pool2d(x, 3, 2, 1, ceil_mode=True)
    b = F.avg_pool2d(x, 3, 2, 1, ceil_mode=True)
    c = F.avg_pool2d(x, 3, 2, 1, count_include_pad=False)
    return m.conv(torch.cat([a[..., :5, :6], b[..., :5, :6], c[..., :5, :6]], 1)), F.max_pool2d(x, 2, dilation=2)


def dw(channels: int, out: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(conv_bn(channels, channels, 3, stride, channels, nn.ReLU6), conv_bn(channels, out, 1))
