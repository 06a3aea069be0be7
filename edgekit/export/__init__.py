"""export: a Checkpoint to a Bundle for the vehicle, with a proof that it says the same."""


def __getattr__(name: str):
    if name == "ExportConfig":
        from edgekit.export.config import ExportConfig

        return ExportConfig
    if name == "export":
        from edgekit.export.run import export

        return export
    raise AttributeError(name)
