"""distill: KL to a teacher and cross-entropy to the labels, then LoRA (driving-mllm section 3.3)."""


def __getattr__(name: str):
    if name == "DistillConfig":
        from edgekit.distill.config import DistillConfig

        return DistillConfig
    if name == "distill":
        from edgekit.distill.run import distill

        return distill
    raise AttributeError(name)
