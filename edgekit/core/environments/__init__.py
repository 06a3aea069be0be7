"""Side environments: what cannot share an environment with edgekit itself.

``blender`` (bpy wants numpy < 2) and ``serve`` (vLLM pins its own torch and compressed-tensors) lie
in ``<sys.prefix>/side/<name>``; the variable EDGEKIT_ENVS names another folder. A stamp, written
last, says that an environment is whole: ``setup`` makes it, ``python_of`` finds it.
"""

from __future__ import annotations

from edgekit.core.environments.build import setup
from edgekit.core.environments.contents import WANTED, wanted
from edgekit.core.environments.place import clean_environ, folder_of, python_of

__all__ = ["WANTED", "clean_environ", "folder_of", "python_of", "setup", "wanted"]
