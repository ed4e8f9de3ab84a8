# ruff: noqa: TID253 - a script that needs PyTorch; nothing of the package imports it
"""Train the example model on scikit-learn's bundled digits (8x8 pixels), export it and measure it.

Needed only to make ``digits.onnx`` again: ``pip install torch==2.13.0 scikit-learn onnx onnxruntime``, then
``python examples/digits/train.py`` (about a minute on two cores). Writes ``digits.onnx``, ``heldout.npz``,
``accuracy.json`` and the measured figures in ``README.md``; the accuracy is that of the exported file.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import torch
from evaluate import accuracy, run_onnx
from sklearn.datasets import load_digits
from torch import nn

HERE = Path(__file__).resolve().parent
SEED, EPOCHS, BATCH, HELD_OUT, OPSET = 0, 60, 64, 450, 17


def conv_bn(cin: int, cout: int, kernel: int, stride: int = 1, groups: int = 1) -> list[nn.Module]:
    conv = nn.Conv2d(cin, cout, kernel, stride, padding=kernel // 2, groups=groups, bias=False)
    return [conv, nn.BatchNorm2d(cout)]


class InvertedResidual(nn.Module):
    """1x1 expansion, 3x3 depthwise, 1x1 projection, added to the input."""

    def __init__(self, channels: int, expansion: int):
        super().__init__()
        wide = channels * expansion
        self.body = nn.Sequential(
            *conv_bn(channels, wide, 1),
            nn.ReLU6(),
            *conv_bn(wide, wide, 3, groups=wide),
            nn.ReLU6(),
            *conv_bn(wide, channels, 1),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.body(x)


class DigitsNet(nn.Module):
    def __init__(self, classes: int = 10):
        super().__init__()
        self.features = nn.Sequential(
            *conv_bn(1, 24, 3),
            nn.ReLU(),
            InvertedResidual(24, 2),
            *conv_bn(24, 48, 3, stride=2),
            nn.ReLU(),
            InvertedResidual(48, 1),
            InvertedResidual(48, 1),
        )
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Linear(48, classes)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.classifier(self.pool(self.features(image)).flatten(1))


def augment(x: torch.Tensor) -> torch.Tensor:
    """Shift every image by up to one pixel in each direction."""
    padded = nn.functional.pad(x, (1, 1, 1, 1))
    dy, dx = torch.randint(0, 3, (2, len(x), 1))
    rows, cols = dy + torch.arange(8), dx + torch.arange(8)
    return padded[torch.arange(len(x))[:, None, None], :, rows[:, :, None], cols[:, None, :]].permute(0, 3, 1, 2)


def train(x: torch.Tensor, y: torch.Tensor) -> DigitsNet:
    """A fixed schedule: nothing is chosen by looking at the held-out images."""
    model = DigitsNet()
    steps = EPOCHS * (len(x) // BATCH)
    optimiser = torch.optim.AdamW(model.parameters(), lr=3e-3, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, max_lr=1e-2, total_steps=steps)
    for epoch in range(EPOCHS):
        total = 0.0
        for batch in torch.randperm(len(x))[: len(x) // BATCH * BATCH].split(BATCH):
            loss = nn.functional.cross_entropy(model(augment(x[batch])), y[batch], label_smoothing=0.05)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
            total += loss.item()
        if epoch % 10 == 9:
            print(f"epoch {epoch + 1}/{EPOCHS}  loss {total / (len(x) // BATCH):.4f}")
    return model.eval()


def export(model: DigitsNet, path: Path) -> None:
    """TorchScript-based exporter; PRESERVE keeps BatchNormalization as it is (EVAL would fold it into Conv)."""
    torch.onnx.export(
        model,
        (torch.zeros(1, 1, 8, 8),),
        str(path),
        dynamo=False,
        opset_version=OPSET,
        training=torch.onnx.TrainingMode.PRESERVE,
        do_constant_folding=False,
        input_names=["image"],
        output_names=["logits"],
        dynamic_axes={"image": {0: "batch"}, "logits": {0: "batch"}},
    )
    onnx.checker.check_model(str(path), full_check=True)


def main() -> None:
    torch.manual_seed(SEED)
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    digits = load_digits()
    images = (digits.images / 16).astype(np.float32)[:, None]  # 0..1, [N, 1, 8, 8]
    labels = digits.target.astype(np.int64)
    # The last images, in the order of the set: neighbours resemble each other, so a shuffled split would flatter.
    (x, x_held), (y, y_held) = np.split(images, [-HELD_OUT]), np.split(labels, [-HELD_OUT])
    np.savez_compressed(HERE / "heldout.npz", images=x_held, labels=y_held)

    model = train(torch.from_numpy(x), torch.from_numpy(y))
    path = HERE / "digits.onnx"
    export(model, path)
    logits = run_onnx(path, x_held)
    with torch.no_grad():
        np.testing.assert_allclose(logits, model(torch.from_numpy(x_held)).numpy(), rtol=1e-3, atol=1e-3)

    measured = {
        "accuracy": round(accuracy(logits, y_held), 4),
        "correct": int((logits.argmax(1) == y_held).sum()),
        "held_out_images": len(y_held),
        "training_images": len(y),
        "parameters": sum(p.numel() for p in model.parameters()),
        "file_bytes": path.stat().st_size,
        "torch": torch.__version__.split("+")[0],
        "opset": OPSET,
    }
    (HERE / "accuracy.json").write_text(json.dumps(measured, indent=1) + "\n")
    write_readme(measured)
    print(json.dumps(measured))


def write_readme(m: dict) -> None:
    text = (
        f"Accuracy: **{m['accuracy']:.1%}** of the held-out digits ({m['correct']} of {m['held_out_images']}),\n"
        f"measured on `digits.onnx` with ONNX Runtime; trained on {m['training_images']} others.\n"
        f"{m['parameters']:,} parameters, {m['file_bytes'] / 1000:.0f} KB, opset {m['opset']}, torch {m['torch']}.\n"
    )
    path = HERE / "README.md"
    before, rest = path.read_text().split("<!-- written by train.py -->\n")
    after = rest.split("<!-- end -->")[1]
    path.write_text(f"{before}<!-- written by train.py -->\n{text}<!-- end -->{after}")


if __name__ == "__main__":
    main()
