"""Cleaning meets the world: killable worker processes, dataset files."""
