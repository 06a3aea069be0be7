"""DiffFit: biases, norms, label table and per-channel scales γ (Xie et al., ICCV 2023, arXiv 2304.06648)."""
