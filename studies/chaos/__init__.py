"""Chaos run: random damage to data, names, flags, checkpoints, disks and processes, and what the scripts make of it."""
