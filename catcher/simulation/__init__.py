"""The simulated night of `catcher demo`: camera, mount and wind.

Start with `source.py`; `schedule.py` says when each exposure is.
"""
