"""Where the roads lie and how the traffic moves on them: plain data below a scene, without Blender."""
