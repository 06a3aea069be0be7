"""DriveDiTFit: modulation of frozen weights, 2-D RoPE, scenario embeddings, masks of objects."""
