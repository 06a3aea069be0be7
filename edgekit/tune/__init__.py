"""tune: an image generator learns a Dataset, from scratch or by one of the fine-tuning methods."""


def __getattr__(name: str):
    if name == "TuneConfig":
        from edgekit.tune.config import TuneConfig

        return TuneConfig
    if name == "tune":
        from edgekit.tune.run import tune

        return tune
    raise AttributeError(name)
