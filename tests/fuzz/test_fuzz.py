"""Damaged and hostile models end in one clear error, in time, without a trace; `python -m tests.fuzz` tries 12,000."""

from __future__ import annotations

import pytest

from . import campaign, mutate, trial

COUNT, SEED, PART = 500, 7, 50
#: Inputs that are a fault still, and why; one that is mended has to leave the list.
KNOWN: dict[tuple[int, str], str] = {}


@pytest.mark.parametrize("start", range(0, COUNT, PART))
def test_no_input_is_a_fault(start: int) -> None:
    bad = [r for r in campaign.run(range(start, start + PART), SEED, jobs=1) if bool(r.faults) != known(r)]
    assert not bad, "\n".join(f"{r.number} {r.name}: {r.faults} {r.excerpt}" for r in bad)


def known(result: campaign.Result) -> bool:
    return (result.number, result.name) in KNOWN


def test_a_seed_says_everything() -> None:
    assert campaign.made(3, 0) == campaign.made(3, 0)
    assert len({campaign.made(number, 0)[1] for number in range(20)}) == 20


def test_damage_is_damage() -> None:
    good = campaign.models()["node/test_relu"]
    assert sum(mutate.damaged(good, str(seed)) != good for seed in range(50)) > 40


@pytest.mark.parametrize(
    ("outcome", "fault"),
    [
        (trial.Outcome(-11, "", 1.0, 0, ()), "crash: SIGSEGV"),
        (trial.Outcome(-24, "", 29.9, 0, ()), "hang"),
        (trial.Outcome(-9, "", 1.0, 0, (), late=True), "hang"),
        (trial.Outcome(0, "", 31.0, 0, ()), "hang"),
        (trial.Outcome(1, "Traceback (most recent call last)", 1.0, 0, ()), "traceback"),
        (trial.Outcome(1, "this is a mistake of the converter", 1.0, 0, ()), "mistake"),
        (trial.Outcome(0, "", 1.0, 3 << 30, ()), "memory: 3072 MB"),
        (trial.Outcome(1, "", 1.0, 0, (".onnx2tf-x",)), "rests: .onnx2tf-x"),
    ],
)
def test_faults_are_seen(outcome: trial.Outcome, fault: str) -> None:
    assert list(outcome.faults()) == [fault]
