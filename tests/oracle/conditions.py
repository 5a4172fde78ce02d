"""Random conditions from large pools, sorted so that Hypothesis shrinks to short ones."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from random import Random

from hypothesis import strategies as st

POOL_SIZE = 3000
WINDOW_LENGTHS = ("1s", "2s", "3s", "5s", "8s")
LIMITS = (0, 1, 2, 3)
UNREACHED_LIMITS = (-0.77, 0.1234, 0.777, 1.617, 2.345)
"""For functions whose values are rounded: numbers that they never meet."""
NUMERIC_TERMS = ("x", "y", "abs(x - y)", "x + y", "x / y", "x * 2 - 1", "-x", "x % 3", "x // y",
           "sqrt(x)", "clip(x, 0, 3)", "floor(x)", "dome.angle", "log(x)")  # fmt: skip
SIMPLE_CONDITIONS = (
    "flag",
    'name == "a"',
    'name in ["a", "c"]',
    "k == 1",
    "x not in [1, 2]",
    "0 < x <= 3",
    "y != 2",
    "not flag",
    "x > y",
    "name != 3",
    "x in [0, 1, 2]",
    "count_of(force > 1) >= 2",
    "mean_of(force) > 1",
    "any_of(abs(force) > 3)",
    "max_of(force) - min_of(force) > 2",
    "std_of(force) > 1.617",
    "force[1] > 1",
    "mean_of(axis) > 1",
    "axis[1] > 1",
    "count_of(axis * 2 > 2) == 1",
    "x + flag > 2",
    "angle_diff(x * 90, y * 90) > 10",
)
EXACT_FUNCTIONS = ("mean", "min_over", "max_over", "sum_over", "median", "delta", "count")
ANGLE_LIMITS = (20.777, 100.123, 250.345)
ARRAY_TERMS = ("{}force", "{}axis", "{}force * 2", "abs({}force - 1)", "{}force > 1")
ROUNDED_FUNCTIONS = ("std", "rms", "slope", "rate")


def stateless_conditions() -> st.SearchStrategy[str]:
    """What `where` may hold: nothing but the event's own fields."""
    return st.sampled_from(_generate_pool(generate_stateless, ()))


def stateful_conditions(names: Sequence[str] = ()) -> st.SearchStrategy[str]:
    """What `when` and `clear` may hold: functions of x, y, name, flag, k and the given names."""
    return st.sampled_from(_generate_pool(generate_stateful, tuple(names)))


def score_conditions() -> st.SearchStrategy[str]:
    """What levels may ask of a result with the metric `score`."""
    return st.sampled_from(_generate_pool(generate_score_condition, ()))


ConditionGenerator = Callable[[Random, tuple[str, ...]], str]


@cache
def _generate_pool(generator: ConditionGenerator, names: tuple[str, ...]) -> list[str]:
    random = Random(f"{generator.__name__} {names}")
    return sorted(
        {generator(random, names) for _ in range(POOL_SIZE)}, key=lambda text: (len(text), text)
    )


def generate_stateless(random: Random, names: tuple[str, ...]) -> str:
    if random.random() < 0.5:
        return random.choice(SIMPLE_CONDITIONS)
    return _generate_comparison(random, random.choice(NUMERIC_TERMS), LIMITS)


def generate_stateful(random: Random, names: tuple[str, ...], depth: int = 2) -> str:
    if depth and random.random() < 0.2:
        left, right = (generate_stateful(random, names, depth - 1) for _ in range(2))
        return random.choice((f"({left}) and ({right})", f"({left}) or ({right})", f"not ({left})"))
    if random.random() < 0.2:
        return generate_stateless(random, names)
    return generate_condition(random, random.choice(("x", "x", "y", "x + y", *names, *names)))


def generate_score_condition(random: Random, names: tuple[str, ...]) -> str:
    return generate_condition(random, "score")


def generate_condition(random: Random, value: str) -> str:
    """A condition on one value and its past."""
    window = (
        f'"{random.choice(WINDOW_LENGTHS)}"'
        if random.random() < 0.6
        else f"last={random.randint(1, 4)}"
    )
    match random.randint(0, 10):
        case 0 | 1 | 2:
            return _generate_comparison(random, value, LIMITS)
        case 3 | 4:
            return _generate_comparison(
                random, f"{random.choice(EXACT_FUNCTIONS)}({value}, {window})", LIMITS
            )
        case 5:
            call = f"{random.choice(ROUNDED_FUNCTIONS)}({value}, {window})"
            if random.random() < 0.3:
                call = f"percentile({value}, {random.choice((0, 10, 50, 90, 100))}, {window})"
            return _generate_comparison(random, call, UNREACHED_LIMITS)
        case 6:
            age_condition = "age(x) == 0"
            if value.endswith(".x"):
                read = random.choice((value, value.removesuffix(".x")))
                age_condition = _generate_comparison(random, f"age({read})", UNREACHED_LIMITS)
            return random.choice(
                (f"changed({value})", f"{value} > previous({value})", age_condition)
            )
        case 8:
            return f"mean_angle({value} * 37.3, {window}) > {random.choice(ANGLE_LIMITS)}"
        case 9:
            read = f"{value.split('.')[0]}." if value.endswith(".x") else ""
            call = (
                f"packed({random.choice(ARRAY_TERMS).format(read)}, "
                f'"{random.choice(WINDOW_LENGTHS)}")'
            )
            function = random.choice((*EXACT_FUNCTIONS, *ROUNDED_FUNCTIONS))
            return _generate_comparison(random, f"{function}({call}, {window})", UNREACHED_LIMITS)
        case 7:
            return (
                f"streak({_generate_comparison(random, value, LIMITS)}) >= {random.randint(1, 3)}"
            )
        case _:
            return f"mean({value} - previous({value}), {window}) > 0"


def _generate_comparison(random: Random, value: str, limits: Sequence[float]) -> str:
    return f"{value} {random.choice(('>', '<', '>=', '<='))} {random.choice(limits)}"
