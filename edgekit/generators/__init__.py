"""Image generators: diffusion models of four architectures, what conditions them, and the noise they undo.

A Generator is a diffusers denoiser with its condition (labels or text), its codec (pixels or a VAE) and its
noise process. ``open_generator`` reads one from a folder in diffusers' layout, ``save_generator`` writes one,
``build_nano_generator`` makes a small untrained one of the same classes. Adapters live in ``adapters``.
"""
