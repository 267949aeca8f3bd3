"""Measurements behind the performance claims: ``make bench``. Each compares two sides in one run, or against a goal.

Not tests: they want a quiet machine, print what they find, and never pass or fail a build.
"""
