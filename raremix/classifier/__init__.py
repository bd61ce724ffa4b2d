"""The multi-label classifier under study: model, augmentation, training, prediction."""
