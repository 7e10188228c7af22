"""Benchmarks of execnode against C references and other programs, measured in one run."""
