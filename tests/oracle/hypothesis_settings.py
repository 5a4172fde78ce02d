"""How hard the properties are tried.

`CATCHER_HYPOTHESIS=long` is the long run (about half an hour); a number multiplies the examples.
"""

from __future__ import annotations

import os

from hypothesis import HealthCheck, Phase, settings

EFFORT = os.environ.get("CATCHER_HYPOTHESIS", "1")
EXAMPLE_FACTOR = 20 if EFFORT == "long" else int(EFFORT)


def property_settings(examples: int, shrink: bool = True) -> settings:
    """Decorates a property with its number of examples, many times as many in the long run.

    Without `shrink` a failing example is shown as it was found.
    """
    return settings(
        phases=[
            *(Phase.explicit, Phase.reuse, Phase.generate),
            *([Phase.shrink] if shrink else []),
        ],
        max_examples=examples * EXAMPLE_FACTOR,
        deadline=None,
        print_blob=True,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    )
