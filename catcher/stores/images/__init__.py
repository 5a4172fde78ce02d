"""Where the image of an observation is: paths, remote stores, a Butler.

Start with `paths.py`; `url_templates.py` parses the site's patterns.
"""
