"""The latent diffusion model: base training, DreamBooth, sampling."""
