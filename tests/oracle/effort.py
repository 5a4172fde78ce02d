"""How hard the properties are tried.

`CATCHER_HYPOTHESIS=long` is the long run (about half an hour); a number multiplies the examples.
"""

from __future__ import annotations

import os

from hypothesis import HealthCheck, Phase, settings

ASKED = os.environ.get("CATCHER_HYPOTHESIS", "1")
TIMES = 20 if ASKED == "long" else int(ASKED)


def effort(examples: int, shrink: bool = True) -> settings:
    """Decorates a property with its number of examples, many times as many in the long run.

    Without `shrink` a failing example is shown as it was found.
    """
    return settings(
        phases=[
            *(Phase.explicit, Phase.reuse, Phase.generate),
            *([Phase.shrink] if shrink else []),
        ],
        max_examples=examples * TIMES,
        deadline=None,
        print_blob=True,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    )
