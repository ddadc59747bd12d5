"""Builders of Kubernetes objects: pure functions, checked against golden files."""
