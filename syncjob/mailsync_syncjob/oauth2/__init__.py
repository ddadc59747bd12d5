"""Access tokens: asked for, kept while they last, and asked for again.

``tokens`` is all that the rest of the engine sees. ``request`` and ``answer`` are pure; ``post`` is
the only one that touches the network, and, like the libraries behind it, is imported only where a
token is asked for: a run with passwords pays nothing for it.
"""
