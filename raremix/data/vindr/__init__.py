"""VinDr-CXR on disk; what its labels mean to the study is in labels.csv."""

from raremix.data.vindr.layout import read

__all__ = ["read"]
