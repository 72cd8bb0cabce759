"""Clips for training: prepared from videos, or painted by a synthetic rig. Never imports jax."""
