"""What every room stands on: errors, seeds, device, checkpoints, progress, files."""
