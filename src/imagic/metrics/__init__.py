"""Metrics: one file each, each a number per image with its unit and direction; the region is a separate axis."""
