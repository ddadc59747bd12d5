"""The container images: the two of the project and those that tests need.

``python -m tests.images build`` is the command line; `tests.images.build` has the functions.
"""
