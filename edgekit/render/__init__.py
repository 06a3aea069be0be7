"""render: labelled scenes drawn by Blender; the labels are exact by birth."""


def __getattr__(name: str):
    if name == "RenderConfig":
        from edgekit.render.config import RenderConfig

        return RenderConfig
    if name == "render":
        from edgekit.render.run import render

        return render
    raise AttributeError(name)
