"""generate: a generator, with or without an adapter, paints a Dataset of what it is asked for."""


def __getattr__(name: str):
    if name == "GenerateConfig":
        from edgekit.generate.config import GenerateConfig

        return GenerateConfig
    if name == "generate":
        from edgekit.generate.run import generate

        return generate
    raise AttributeError(name)
