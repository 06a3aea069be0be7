"""The label generator: a mask decoder on the inner features of a (tuned, frozen) image generator.

After DatasetDM's P-decoder as CA-LoRA adapts it (arXiv 2503.22172v2, Sec. 3.3, App. B): pictures come with a
segmentation.
"""
