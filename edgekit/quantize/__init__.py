"""quantize: a float Checkpoint to 4-bit weights by AWQ, calibrated on the team's own frames."""


def __getattr__(name: str):
    if name == "QuantizeConfig":
        from edgekit.quantize.config import QuantizeConfig

        return QuantizeConfig
    if name == "quantize":
        from edgekit.quantize.run import quantize

        return quantize
    raise AttributeError(name)
