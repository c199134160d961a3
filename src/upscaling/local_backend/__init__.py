"""The embedded openEO back-end: a REST front, and a worker process per batch job over local files.

Needs the extra ``[local]``. No module outside this package imports it; start it with ``upscaling local-backend``.
"""
