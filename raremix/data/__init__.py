"""Radiographs and their labels: the phantom, readers of real data, manifest, split and mixes. No torch model here."""
