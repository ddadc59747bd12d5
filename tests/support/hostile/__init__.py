"""Servers (and people in between) that mean harm: one table, split by where the harm is done."""
