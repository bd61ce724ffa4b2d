"""What a classifier reacts to, asked through the latent spaces of a diffusion model."""
