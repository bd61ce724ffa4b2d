"""Radiographs and their labels: the phantom, readers of real data, manifest, split and mixes. No torch model here."""

from typing import Literal

Layout = Literal["phantom", "vindr", "nih", "table"]  # of a data set on disk
