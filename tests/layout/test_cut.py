"""The solver against brute force and against a MILP: docs/layout.md, 8.1 and 8.4."""

from __future__ import annotations

import itertools
import random

import numpy as np
import pytest

from onnx2tf_lite.layout.problem import CF, CL, Labelling, Pin


def random_problem(rng: random.Random, nodes: int, values: int, orders: int = 4) -> Labelling:
    """Byte weights; keys of the two candidates are disjoint or equal (submodular)."""
    problem = Labelling(nodes)
    for _ in range(values):
        pins = []
        for node in rng.sample(range(nodes), rng.randint(1, min(nodes, 5))):
            shared = rng.random() < 0.2
            cf = f"x{rng.randrange(2)}" if shared else f"cf{rng.randrange(orders)}"
            pins.append(Pin(node, (cf, cf if shared else f"cl{rng.randrange(orders)}")))
        problem.values.append((rng.randrange(1, 1 << 20) + 4096, pins))
    return problem


def brute_force(problem: Labelling) -> int:
    return min(problem.cost(labels) for labels in itertools.product((CF, CL), repeat=problem.nodes))


@pytest.mark.parametrize("block", range(31))
def test_solver_equals_brute_force(block: int) -> None:
    rng = random.Random(block)
    for _ in range(100):  # 3,100 problems in all
        problem = random_problem(rng, rng.randint(1, 9), rng.randint(0, 9))
        labels, bound, conflicts = problem.solve()
        assert conflicts == 0
        assert problem.cost(labels) == bound == brute_force(problem)


def test_conflicting_orders_are_bounded_and_counted() -> None:
    rng = random.Random(5)
    seen = 0
    for _ in range(200):
        problem = random_problem(rng, 6, 5)
        for weight, pins in problem.values[:2]:
            pins.append(Pin(rng.randrange(6), ("cl0", "cf0")))  # another node's candidates the other way round
            assert weight
        labels, bound, conflicts = problem.solve()
        seen += bool(conflicts)
        assert brute_force(problem) <= problem.cost(labels) <= bound
        if not conflicts:
            assert problem.cost(labels) == brute_force(problem)
    assert seen > 50


def test_answer_is_the_same_every_time() -> None:
    problem = random_problem(random.Random(3), 30, 40)
    assert len({tuple(problem.solve()[0]) for _ in range(3)}) == 1


def test_unit_weights_are_caught() -> None:
    """docs/layout.md, 8.4: a solver that counts transposes instead of bytes must not pass the oracle."""
    rng = random.Random(11)
    wrong = 0
    for _ in range(200):
        problem = random_problem(rng, 7, 7)
        blind = Labelling(problem.nodes, [(1, pins) for _, pins in problem.values])
        wrong += problem.cost(blind.solve()[0]) != brute_force(problem)
    assert wrong > 20


@pytest.mark.parametrize("seed", range(6))
def test_solver_equals_milp_on_large_problems(seed: int) -> None:
    from scipy.optimize import LinearConstraint, milp

    problem = random_problem(random.Random(seed), 80, 120, orders=3)
    columns = problem.nodes  # x[node] = 1 for CL
    cost: list[float] = [0.0] * columns
    offset = 0.0
    low, high = [0.0] * columns, [1.0] * columns
    rows: list[tuple[dict[int, float], float]] = []
    for weight, pins in problem.values:
        offset -= weight
        for key in {k for p in pins for k in p.keys}:
            y = len(cost)
            cost.append(weight)
            low.append(0.0)
            high.append(1.0)
            for pin in pins:  # y >= 1 where the pin's label asks for this order
                if pin.keys[CF] == key and pin.keys[CL] == key:
                    low[y] = 1.0
                elif pin.keys[CF] == key:
                    rows.append(({y: 1.0, pin.node: 1.0}, 1.0))
                elif pin.keys[CL] == key:
                    rows.append(({y: 1.0, pin.node: -1.0}, 0.0))
    matrix = np.zeros((len(rows), len(cost)))
    for r, (row, _) in enumerate(rows):
        for c, factor in row.items():
            matrix[r, c] = factor
    constraint = LinearConstraint(matrix, [bound for _, bound in rows], np.inf)
    best = milp(cost, constraints=constraint, bounds=(low, high), integrality=np.ones(len(cost)))
    labels, bound, _ = problem.solve()
    assert problem.cost(labels) == bound
    assert bound == pytest.approx(best.fun + offset, rel=1e-9)
