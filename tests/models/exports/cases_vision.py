# ruff: noqa: TID253 - part of make_exports.py
"""Vision networks: convolutional classifiers, segmentation, detection, super-resolution, transformers."""

from __future__ import annotations

from case import Case, Fn, conv, conv_bn, f, pooled_classifier
from modules_vision import (
    FPN,
    AsppHead,
    Cbam,
    ConvNeXtBlock,
    Crnn,
    DenseBlock,
    InvertedResidual,
    MiniDetr,
    ResidualBlock,
    ShuffleUnit,
    SpatialTransformer,
    SsdHead,
    SwinBlock,
    UNet,
    ViT,
    YoloHead,
    dw,
    focus_stem,
    pools,
    superpoint,
)
from torch import nn

IMAGE = {"image": f(1, 3, 16, 16)}
BATCH = {"image": {0: "batch"}}
SPACE = {"image": {2: "height", 3: "width"}}
LARGER = ({"image": (1, 3, 32, 24)},)

CASES = [
    Case(
        "conv_bn_relu",
        lambda: nn.Sequential(conv_bn(3, 6), conv_bn(6, 8, 3, 2), pooled_classifier(8)),
        IMAGE,
        ("ts11", "dynamo"),
        BATCH,
        ({"image": (3, 3, 16, 16)},),
    ),
    Case(
        "conv_bn_relu_unfolded",
        lambda: nn.Sequential(conv_bn(3, 6), conv_bn(6, 8, 3, 2), nn.BatchNorm2d(8), pooled_classifier(8)),
        IMAGE,
        ("ts13", "dynamo"),
        keep_batchnorm=True,
    ),
    Case(
        "conv_strides_asymmetric_pads",
        lambda: nn.Sequential(
            nn.ZeroPad2d((0, 1, 0, 1)),
            conv(3, 6, 3, 2, padding=0),
            nn.ReLU(),
            nn.ConstantPad2d((2, 1, 0, 3), 0.0),
            nn.Conv2d(6, 8, (3, 5), (1, 2), padding=(1, 0)),
            nn.LeakyReLU(0.1),
            nn.Conv2d(8, 4, 2, padding="same"),
        ),
        IMAGE,
        ("ts13",),
    ),
    Case(
        "conv_dilated_grouped",
        lambda: nn.Sequential(
            conv(4, 8, 3, groups=2),
            nn.ReLU(),
            conv(8, 8, 3, padding=2, dilation=2),
            nn.ReLU(),
            conv(8, 16, 3, padding=(2, 3), dilation=(2, 3), groups=8),
            nn.ReLU(),
            conv(16, 8, 3, 2, groups=4),
        ),
        {"image": f(1, 4, 14, 14)},
        ("ts13",),
    ),
    Case("depthwise_separable", lambda: nn.Sequential(conv_bn(3, 6), dw(6, 8, 2), dw(8, 8)), IMAGE, ("ts11",)),
    Case(
        "mobilenet_inverted_residual_se",
        lambda: nn.Sequential(conv_bn(3, 6, 3, 2), InvertedResidual(6, 12), pooled_classifier(6)),
        IMAGE,
        ("ts13", "dynamo"),
    ),
    Case("shufflenet_unit", lambda: nn.Sequential(conv_bn(3, 8, 3, 2), ShuffleUnit(8), ShuffleUnit(8)), IMAGE),
    Case(
        "densenet_block",
        lambda: nn.Sequential(
            conv(3, 4), DenseBlock(4, 3, 3), nn.BatchNorm2d(13), nn.ReLU(), nn.Conv2d(13, 6, 1), nn.AvgPool2d(2)
        ),
        IMAGE,
        ("ts13",),
    ),
    Case(
        "resnet_block",
        lambda: nn.Sequential(
            conv_bn(3, 4, 7, 2), nn.MaxPool2d(3, 2, 1), ResidualBlock(4, 4, 1), ResidualBlock(4, 8, 2), nn.Flatten()
        ),
        {"image": f(1, 3, 32, 32)},
        ("ts11",),
        BATCH,
        ({"image": (2, 3, 32, 32)},),
    ),
    Case("unet", UNet, IMAGE, ("ts13", "dynamo"), SPACE, LARGER),
    Case("fpn_nearest", lambda: FPN("nearest"), {"image": f(1, 3, 32, 32)}, ("ts11",)),
    Case(
        "fpn_nearest_by_size",
        lambda: FPN("nearest", by_size=True),
        {"image": f(1, 3, 30, 36)},
        ("ts17",),
        SPACE,
        ({"image": (1, 3, 41, 27)},),
    ),
    Case("fpn_bilinear", lambda: FPN("bilinear", False), {"image": f(1, 3, 32, 32)}, ("dynamo",)),
    Case("fpn_align_corners", lambda: FPN("bilinear", True), {"image": f(1, 3, 32, 32)}, ("ts11",)),
    Case("segmentation_aspp", AsppHead, {"image": f(1, 3, 32, 32)}, ("dynamo",)),
    Case("segmentation_aspp_dynamic", AsppHead, {"image": f(1, 3, 32, 32)}, ("ts13",), SPACE, LARGER),
    Case(
        "pixel_shuffle",
        lambda: nn.Sequential(conv(1, 8), nn.Tanh(), conv(8, 9), nn.PixelShuffle(3)),
        {"image": f(1, 1, 8, 8)},
        ("ts11",),
        SPACE,
        ({"image": (1, 1, 12, 9)},),
    ),
    Case(
        "pixel_unshuffle",
        lambda: nn.Sequential(nn.PixelUnshuffle(2), conv_bn(12, 8), nn.PixelShuffle(2), conv(2, 3)),
        IMAGE,
        ("ts17",),
    ),
    Case("bicubic", lambda: nn.Sequential(conv(3, 4), nn.Upsample(scale_factor=2, mode="bicubic")), IMAGE, ("ts13",)),
    Case("vit", ViT, IMAGE, ("ts13", "dynamo")),
    Case("vit_dynamic_batch", ViT, {"image": f(2, 3, 16, 16)}, ("ts17",), BATCH, ({"image": (3, 3, 16, 16)},)),
    Case("swin_windows", SwinBlock, IMAGE),
    Case("convnext_block", ConvNeXtBlock, IMAGE, ("dynamo",)),
    Case("cbam", Cbam, IMAGE, ("ts13",)),
    Case("mini_detr", MiniDetr, IMAGE, ("dynamo",)),
    Case("yolo_head", YoloHead, {"image": f(1, 3, 32, 32)}, ("ts13", "dynamo")),
    Case("ssd_head", SsdHead, {"image": f(1, 3, 32, 32)}, ("ts11",), outputs=("boxes", "scores")),
    Case(
        "superpoint_head", lambda: Fn(superpoint, stem=conv_bn(3, 8, 3, 4), head=nn.Conv2d(8, 17, 1)), IMAGE, ("ts17",)
    ),
    Case("focus_stem", lambda: Fn(focus_stem, conv=conv_bn(12, 8, act=nn.SiLU)), IMAGE, ("ts11",)),
    Case("crnn", Crnn, {"image": f(1, 1, 8, 24)}, ("ts17",), {"image": {3: "width"}}, ({"image": (1, 1, 8, 40)},)),
    Case("spatial_transformer", SpatialTransformer, {"image": f(2, 3, 12, 16)}, ("dynamo",)),
    Case("pools", lambda: Fn(pools, conv=nn.Conv2d(9, 4, 1)), {"image": f(1, 3, 10, 12)}, ("ts13",)),
    Case(
        "adaptive_average_pool",
        lambda: nn.Sequential(conv(3, 4), nn.AdaptiveAvgPool2d((4, 2)), nn.Flatten(), nn.Linear(32, 5)),
        IMAGE,
        ("ts13",),
    ),
    Case(
        "nhwc_input",
        lambda: Fn(lambda m, x: m.net(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1), net=conv_bn(3, 8, 3, 2)),
        {"image": f(1, 16, 16, 3)},
        ("ts17",),
    ),
    Case(
        "group_norm",
        lambda: nn.Sequential(conv(3, 8), nn.GroupNorm(4, 8), nn.SiLU(), conv(8, 8), nn.GroupNorm(1, 8)),
        IMAGE,
        ("ts17",),
    ),
    Case(
        "instance_norm",
        lambda: nn.Sequential(conv(3, 4, 3, 2), nn.InstanceNorm2d(4, affine=True), nn.ReLU(), nn.InstanceNorm2d(4)),
        IMAGE,
        ("ts11",),
    ),
    Case(
        "conv_transpose2d",
        lambda: nn.Sequential(
            nn.ConvTranspose2d(4, 8, 3, 2, 1, output_padding=1, bias=False),
            nn.BatchNorm2d(8),
            nn.ReLU(),
            nn.ConvTranspose2d(8, 6, (3, 4), (1, 2), (0, 1), groups=2),
            nn.ConvTranspose2d(6, 6, 4, 2, 1, groups=6),
            nn.ConvTranspose2d(6, 2, 3, dilation=2),
        ),
        {"image": f(1, 4, 5, 6)},
        ("ts13",),
    ),
    Case(
        "conv3d",
        lambda: nn.Sequential(
            nn.Conv3d(1, 4, 3, padding=1),
            nn.BatchNorm3d(4),
            nn.ReLU(),
            nn.MaxPool3d(2),
            nn.Conv3d(4, 6, (1, 3, 3), (1, 2, 2)),
            nn.AvgPool3d((2, 1, 1)),
            nn.AdaptiveAvgPool3d(1),
            nn.Flatten(),
            nn.Linear(6, 3),
        ),
        {"volume": f(1, 1, 8, 12, 12)},
        ("ts17",),
    ),
]
