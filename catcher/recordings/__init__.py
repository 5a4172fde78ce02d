"""Recorded streams as files: JSON Lines, plain or gzip, and Parquet.

Start with `reader.py` and `writer.py`; `source.py` replays a recording as a source.
"""
