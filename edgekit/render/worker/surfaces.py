# SPDX-License-Identifier: GPL-3.0-or-later
# This folder imports bpy and is under the GPL; the rest of edgekit talks to it through files and pipes only.
"""Surfaces: plain ones by name, and the few with a little noise in them."""

import bpy

LIT = {"red": (1.0, 0.02, 0.015), "yellow": (1.0, 0.42, 0.0), "green": (0.0, 0.9, 0.28)}
DARK = {"red": (0.06, 0.006, 0.006), "yellow": (0.06, 0.04, 0.004), "green": (0.004, 0.045, 0.02)}


def named(kind, color):
    """A name for a material that is known by its colour."""
    return kind + "".join(f"_{c:.2f}" for c in color)


def plain(name, color, rough=0.7, metal=0.0, glow=0.0, noise=None, coat=0.0):
    """One material a name; `glow`: emission in its own colour; `noise`: (scale, amount) of patches; `coat`: of
    clear lacquer."""
    known = bpy.data.materials.get(name)
    if known:
        return known
    material = bpy.data.materials.new(name)
    material.use_nodes = True
    nodes, links = material.node_tree.nodes, material.node_tree.links
    bsdf = nodes["Principled BSDF"]
    bsdf.inputs["Base Color"].default_value = (*color, 1)
    bsdf.inputs["Roughness"].default_value = rough
    bsdf.inputs["Metallic"].default_value = metal
    bsdf.inputs["Coat Weight"].default_value, bsdf.inputs["Coat Roughness"].default_value = coat, 0.08
    if glow:
        bsdf.inputs["Emission Color"].default_value = (*color, 1)
        bsdf.inputs["Emission Strength"].default_value = glow
        material.cycles.emission_sampling = (
            "NONE"  # seen, but not aimed at: hundreds of windows are no light sources
        )
    if noise:
        position, texture, ramp = (
            nodes.new(f"ShaderNode{kind}") for kind in ("NewGeometry", "TexNoise", "ValToRGB")
        )
        texture.inputs["Scale"].default_value, texture.inputs["Detail"].default_value = noise[0], 2
        low, high = ramp.color_ramp.elements
        low.position, high.position = 0.3, 0.7
        low.color = (*[c * (1 - noise[1]) for c in color], 1)
        high.color = (*[min(1, c * (1 + noise[1])) for c in color], 1)
        links.new(position.outputs["Position"], texture.inputs["Vector"])
        links.new(texture.outputs["Fac"], ramp.inputs["Fac"])
        links.new(ramp.outputs["Color"], bsdf.inputs["Base Color"])
    return material


def glass():
    """Dark, and a mirror: with nothing else in it to sample it has no noise of its own."""
    return plain("glass", (0.0, 0.0, 0.0), 0.0)


def glowing(name, color):
    """A lit lens: emission only, so that it keeps its own colour at noon and at night."""
    known = bpy.data.materials.get(name)
    if known:
        return known
    material = bpy.data.materials.new(name)
    material.use_nodes = True
    nodes, links = material.node_tree.nodes, material.node_tree.links
    nodes.remove(nodes["Principled BSDF"])
    emission = nodes.new("ShaderNodeEmission")
    emission.inputs["Color"].default_value, emission.inputs["Strength"].default_value = (*color, 1), 1.3
    links.new(emission.outputs[0], nodes["Material Output"].inputs["Surface"])
    material.cycles.emission_sampling = "NONE"
    return material


def asphalt(wet, snow=False):
    """Dry; wet, with patches that mirror; or slush with snow between, pale but darker than the paint."""
    if snow:
        return plain("asphalt", (0.32, 0.325, 0.335), 0.8, noise=(0.45, 0.45))
    material = plain(
        "asphalt", (0.075, 0.075, 0.078) if not wet else (0.04, 0.04, 0.043), 0.9, noise=(0.45, 0.3)
    )
    if wet:
        nodes, links = material.node_tree.nodes, material.node_tree.links
        texture, ramp = nodes.new("ShaderNodeTexNoise"), nodes.new("ShaderNodeValToRGB")
        texture.inputs["Scale"].default_value, texture.inputs["Detail"].default_value = 0.35, 2
        low, high = ramp.color_ramp.elements
        low.position, low.color, high.position, high.color = 0.45, (0.4,) * 3 + (1,), 0.6, (0.1,) * 3 + (1,)
        geometry = next(n for n in nodes if n.bl_idname == "ShaderNodeNewGeometry")
        links.new(geometry.outputs["Position"], texture.inputs["Vector"])
        links.new(texture.outputs["Fac"], ramp.inputs["Fac"])
        links.new(ramp.outputs["Color"], nodes["Principled BSDF"].inputs["Roughness"])
    return material
