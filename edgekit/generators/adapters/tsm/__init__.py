"""TimeStep Master: LoRA experts for intervals of noise, mixed by routers (arXiv 2503.07416)."""
