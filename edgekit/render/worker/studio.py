# SPDX-License-Identifier: GPL-3.0-or-later
# This folder imports bpy and is under the GPL; the rest of edgekit talks to it through files and pipes only.
"""Sky, sun, headlights, camera and the path tracer's settings."""

import math

import bpy

# zenith, horizon, strength of the sky; colour and strength of the sun. Linear light; 1 is screen white.
SKIES = {
    ("clear", "day"): ((0.16, 0.33, 0.75), (0.62, 0.74, 0.88), 0.85, (1.0, 0.93, 0.82), 3.2),
    ("clear", "dusk"): ((0.10, 0.14, 0.30), (0.75, 0.38, 0.20), 0.70, (1.0, 0.50, 0.25), 0.8),
    ("clear", "night"): ((0.004, 0.006, 0.016), (0.03, 0.028, 0.035), 0.9, None, 0.0),
    ("rain", "day"): ((0.42, 0.46, 0.50), (0.62, 0.65, 0.68), 1.1, None, 0.0),
    ("rain", "dusk"): ((0.16, 0.18, 0.23), (0.32, 0.30, 0.31), 1.1, None, 0.0),
    ("rain", "night"): ((0.006, 0.007, 0.012), (0.03, 0.03, 0.034), 0.9, None, 0.0),
    ("clear", "low_sun"): ((0.20, 0.33, 0.62), (0.95, 0.66, 0.40), 0.95, (1.0, 0.68, 0.38), 2.6),
    ("rain", "low_sun"): ((0.40, 0.39, 0.40), (0.66, 0.56, 0.46), 1.0, None, 0.0),
    ("cloudy", "day"): ((0.50, 0.54, 0.60), (0.70, 0.73, 0.76), 1.0, None, 0.0),
    ("cloudy", "dusk"): ((0.18, 0.20, 0.26), (0.40, 0.34, 0.32), 1.0, None, 0.0),
    ("cloudy", "night"): ((0.006, 0.007, 0.012), (0.034, 0.032, 0.034), 0.9, None, 0.0),
    ("cloudy", "low_sun"): ((0.44, 0.44, 0.47), (0.85, 0.66, 0.48), 0.9, None, 0.0),
    ("fog", "day"): ((0.60, 0.62, 0.65), (0.62, 0.64, 0.66), 1.0, None, 0.0),
    ("fog", "dusk"): ((0.20, 0.21, 0.25), (0.25, 0.25, 0.27), 1.0, None, 0.0),
    ("fog", "night"): ((0.02, 0.02, 0.022), (0.045, 0.040, 0.036), 0.9, None, 0.0),
    ("fog", "low_sun"): ((0.58, 0.54, 0.50), (0.74, 0.63, 0.50), 1.0, None, 0.0),
    ("snow", "day"): ((0.58, 0.61, 0.66), (0.66, 0.68, 0.71), 1.0, None, 0.0),
    ("snow", "dusk"): ((0.20, 0.22, 0.28), (0.30, 0.30, 0.34), 1.0, None, 0.0),
    ("snow", "night"): ((0.014, 0.014, 0.02), (0.06, 0.055, 0.054), 0.9, None, 0.0),
    ("snow", "low_sun"): ((0.50, 0.49, 0.51), (0.76, 0.65, 0.55), 1.0, None, 0.0),
}
# What is seen of a low sun: from, to (degrees off its middle), linear light. The real disc ends at 0.27.
DISC, AUREOLE = (1.2, 0.6, 5.0), (28.0, 0.0, 0.6)


def airlight(conditions):
    """Linear RGB of the horizon: what fog and snowfall fade to."""
    _, horizon, strength, _, _ = SKIES[conditions["weather"], conditions["time"]]
    return [channel * strength for channel in horizon]


def build_sky(conditions):
    zenith, horizon, strength, sun_colour, sun_strength = SKIES[conditions["weather"], conditions["time"]]
    world = bpy.data.worlds.new("sky")
    bpy.context.scene.world = world
    world.use_nodes = True
    nodes, links = world.node_tree.nodes, world.node_tree.links
    where, split, ramp = (
        nodes.new("ShaderNodeTexCoord"),
        nodes.new("ShaderNodeSeparateXYZ"),
        nodes.new("ShaderNodeValToRGB"),
    )
    low, high = ramp.color_ramp.elements
    low.position, high.position = 0.0, 0.25 + 0.35 * conditions["sky"]["haze"]
    low.color, high.color = (*horizon, 1), (*zenith, 1)
    links.new(where.outputs["Generated"], split.inputs[0])
    links.new(split.outputs["Z"], ramp.inputs["Fac"])
    links.new(ramp.outputs["Color"], nodes["Background"].inputs["Color"])
    nodes["Background"].inputs["Strength"].default_value = strength
    world.cycles.sampling_method = "NONE"  # a smooth sky needs no importance map
    if sun_colour:
        sun = bpy.data.lights.new("sun", "SUN")
        sun.color, sun.energy, sun.angle = sun_colour, sun_strength, 0.02
        thing = bpy.data.objects.new("sun", sun)
        stated = conditions["time"] in ("day", "low_sun")
        elevation = math.radians(conditions["sky"]["sun_elevation_deg"] if stated else 9.0)
        azimuth = math.radians(conditions["sky"]["sun_azimuth_deg"])
        thing.rotation_euler = (math.pi / 2 - elevation, 0, azimuth)
        bpy.context.collection.objects.link(thing)
        if conditions["time"] == "low_sun":
            _visible_sun(nodes, links, elevation, azimuth, sun_colour)


def _visible_sun(nodes, links, elevation, azimuth, colour):
    """A disc and its aureole in the sky, for the camera's eye alone: the lamp lights, and cannot be seen."""
    level = math.cos(elevation)  # the lamp shines along its own -z: at azimuth 0 it stands behind us
    towards = (math.sin(azimuth) * level, -math.cos(azimuth) * level, math.sin(elevation))
    where, dot = nodes.new("ShaderNodeTexCoord"), nodes.new("ShaderNodeVectorMath")
    dot.operation, dot.inputs[1].default_value = "DOT_PRODUCT", towards
    links.new(where.outputs["Generated"], dot.inputs[0])
    lights = []
    for outer, inner, light in (DISC, AUREOLE):
        fade = nodes.new("ShaderNodeMapRange")
        fade.interpolation_type = "SMOOTHERSTEP"
        links.new(dot.outputs["Value"], fade.inputs["Value"])
        edge, middle = math.cos(math.radians(outer)), math.cos(math.radians(inner))
        for name, value in (("From Min", edge), ("From Max", middle), ("To Min", 0.0), ("To Max", light)):
            fade.inputs[name].default_value = value
        lights.append(fade.outputs["Result"])
    eye = nodes.new("ShaderNodeLightPath").outputs["Is Camera Ray"]
    glow, add = nodes.new("ShaderNodeBackground"), nodes.new("ShaderNodeAddShader")
    glow.inputs["Color"].default_value = (*colour, 1)
    both = _of_two("ADD", nodes, links, *lights)
    links.new(_of_two("MULTIPLY", nodes, links, both, eye), glow.inputs["Strength"])
    links.new(nodes["Background"].outputs[0], add.inputs[0])
    links.new(glow.outputs[0], add.inputs[1])
    links.new(add.outputs[0], nodes["World Output"].inputs["Surface"])


def _of_two(operation, nodes, links, a, b):
    node = nodes.new("ShaderNodeMath")
    node.operation = operation
    links.new(a, node.inputs[0])
    links.new(b, node.inputs[1])
    return node.outputs[0]


def build_camera(spec):
    scene, image = bpy.context.scene, spec["image"]
    camera = bpy.data.cameras.new("ego")
    camera.sensor_fit, camera.angle = "HORIZONTAL", math.radians(image["hfov_deg"])
    camera.clip_start, camera.clip_end = 0.1, 1000
    thing = bpy.data.objects.new("ego", camera)
    bpy.context.collection.objects.link(thing)
    scene.camera = thing
    return thing


class Headlights:
    """Of the ego vehicle, at its front whatever the camera's mount: 0.65 m high, 5 degrees down."""

    def __init__(self, spec):
        self.lamps = []
        for side in (-1, 1) if spec["conditions"]["time"] == "night" else ():
            light = bpy.data.lights.new("headlight", "SPOT")
            light.energy, light.spot_size, light.spot_blend, light.shadow_soft_size = 500, 1.3, 1.0, 0.08
            lamp = bpy.data.objects.new("headlight", light)
            lamp.scale = (1, 0.4, 1)  # a flat beam: what stands close ahead is not blinded
            bpy.context.collection.objects.link(lamp)
            self.lamps.append((side, lamp))

    def arrange(self, frame):
        ego = frame["ego"]
        c, s = math.cos(ego["yaw"]), math.sin(ego["yaw"])
        for side, lamp in self.lamps:
            x, y = side * (ego["width"] / 2 - 0.3), ego["length"] / 2 + 0.05
            lamp.location = (ego["x"] + c * x - s * y, ego["y"] + s * x + c * y, 0.65)
            lamp.rotation_euler = (math.radians(85), 0, ego["yaw"])  # a lamp shines along its own -z


def set_up(spec):
    scene, image = bpy.context.scene, spec["image"]
    render, cycles = scene.render, scene.cycles
    render.engine = "CYCLES"
    render.resolution_x, render.resolution_y, render.resolution_percentage = (
        image["width"],
        image["height"],
        100,
    )
    render.threads_mode, render.threads = "FIXED", 1
    render.use_persistent_data = True
    for name in dir(render):
        if name.startswith("use_stamp_"):
            setattr(render, name, False)
    cycles.device, cycles.samples, cycles.use_adaptive_sampling = "CPU", image["samples"], False
    cycles.max_bounces, cycles.diffuse_bounces, cycles.glossy_bounces = (
        image["bounces"],
        min(1, image["bounces"]),
        image["bounces"],
    )
    cycles.transparent_max_bounces, cycles.transmission_bounces, cycles.volume_bounces = 2, 0, 0
    cycles.caustics_reflective = cycles.caustics_refractive = False
    cycles.sample_clamp_indirect = 3
    cycles.use_denoising, cycles.denoiser = True, "OPENIMAGEDENOISE"
    cycles.denoising_prefilter, cycles.denoising_quality = "NONE", "BALANCED"
    layer = bpy.context.view_layer
    from_depth = {"extinction_per_m", "exposure_s"} & set(spec["conditions"].get("effects", {}))
    layer.use_pass_object_index = bool(spec["passes"]["ids"])
    layer.use_pass_z = bool(spec["passes"]["depth"] or from_depth)
    settings = render.image_settings
    settings.media_type = "MULTI_LAYER_IMAGE"  # Blender 5: before the format
    settings.file_format, settings.color_depth, settings.exr_codec = "OPEN_EXR_MULTILAYER", "32", "NONE"
