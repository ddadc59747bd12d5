"""A Kubernetes cluster to test on: one interface over a local one, kind, or an existing context.

``python -m tests.cluster up|down|status|load|kubeconfig`` is the command line;
`tests.cluster.providers` holds the interface that other test code uses.
"""
