"""The jobs that these rules name; none of them is run."""

from catcher import Event, Result, job


@job
async def measure(event: Event, limit: float = 1.0) -> Result:
    """Returns one metric."""
    return Result({"doubled": 2.0 * limit})


@job
async def count_windows(event: Event) -> Result:
    """Returns one metric."""
    return Result({"windows": 1.0})
