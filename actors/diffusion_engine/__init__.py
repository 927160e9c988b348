"""Masked-diffusion language models, denoised in this process."""
