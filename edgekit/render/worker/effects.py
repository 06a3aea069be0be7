# SPDX-License-Identifier: GPL-3.0-or-later
# Beside the files that import bpy, and under the same licence; imports nothing but numpy.
"""Weather and camera on a rendered frame: numpy, from linear light and depth to linear light.

rgb: (h, w, 3) float32 linear light, 1 is screen white; distances: (h, w) metres, the sky is 1e10 or inf.
Nothing here moves a pixel's object by more than the blur does: ids and depth stay those of the clear scene.
Every random number comes from a seed; `fog` after Koschmieder (1924), noise after EMVA 1288's sensor model.
"""

import numpy as np

THRESHOLD = 0.8  # of glare, linear light: lit lamps, the sun, little else
BOOST = 12.0  # the renderer keeps lamps near white; real ones are far above it
SPREAD = ((0.02, 0.5), (0.08, 0.5))  # of glare: (width in image heights, share)
FLAKES_PER_PIXEL = 0.006
FLAKE_LIGHT = 1.25  # of the air around it
FLAKE_M, FALL_M, FOCUS_M = 0.005, 0.008, 1.5  # a flake's radius, its fall in one exposure; nearer ones blur
NEAR_M, FAR_M = 0.6, 25.0  # of the flakes; beyond it they are haze
DIRT = 0.75  # the most that a blob covers: a quarter of the contrast is left, so labels need not know of it
TAPS = 8  # samples along a pixel's motion
MAX_FLOW = 0.1  # of the image's width: what flows farther is a smear anyway


def before(rgb, depth, effects, frame, hfov_deg, airlight):
    """What lies between scene and lens, rain apart: fog or snow, and the motion while the shutter is open."""
    if "extinction_per_m" in effects or "flakes" in effects:
        away = ray_distance(depth, hfov_deg)
    if "extinction_per_m" in effects:
        rgb = fog(rgb, away, effects["extinction_per_m"], airlight)
    if "exposure_s" in effects:
        turned = frame.get("yaw_rate_rps", 0.0) * effects["exposure_s"]
        rgb = motion_blur(rgb, depth, hfov_deg, frame["speed_mps"] * effects["exposure_s"], turned)
    if "flakes" in effects:
        rgb = snow(rgb, away, hfov_deg, effects["flakes"], airlight, (frame["seed"], 1))
    return rgb


def within(rgb, effects, frame, scene_seed, hfov_deg, wet):
    """What lens and sensor add. The dirt is the scene's, the noise the frame's."""
    if "glare" in effects:
        rgb = glare(rgb, effects["glare"])
    if "dirt" in effects:
        rgb = dirt(rgb, effects["dirt"], (scene_seed, 2), wet)
    if "vignette" in effects:
        rgb = vignette(rgb, effects["vignette"], hfov_deg)
    if "white_e" in effects:
        rgb = noise(rgb, effects["white_e"], effects["read_e"], (frame["seed"], 3))
    return rgb


def rays(height, width, hfov_deg):
    """((w,), (h,), focal length): pixel centres from the optical axis, all in pixels."""
    focal = width / 2 / np.tan(np.radians(hfov_deg) / 2)
    across = np.arange(width, dtype=np.float32) + 0.5 - width / 2
    down = np.arange(height, dtype=np.float32) + 0.5 - height / 2
    return across, down, np.float32(focal)


def ray_distance(depth, hfov_deg):
    """Planar depth to the length of each pixel's ray, metres."""
    across, down, focal = rays(*depth.shape, hfov_deg)
    return depth * np.sqrt(1 + (across / focal) ** 2 + (down[:, None] / focal) ** 2)


def fog(rgb, distance, extinction_per_m, airlight):
    """I t + A (1 - t), t = exp(-beta d): homogeneous air, lit as `airlight` (3,) is."""
    if extinction_per_m == 0:
        return rgb
    t = np.exp(np.float32(-extinction_per_m) * distance)[..., None]
    return rgb * t + np.asarray(airlight, np.float32) * (1 - t)


def snow(rgb, distance, hfov_deg, strength, airlight, seed):
    """Flakes between NEAR_M and FAR_M, each drawn where what lies behind it is farther than it.

    A flake is a soft streak of its fall; one smaller than a pixel covers its share of the pixel.
    """
    if strength == 0:
        return rgb
    height, width = distance.shape
    focal, rng, rgb = rays(height, width, hfov_deg)[2], np.random.default_rng(seed), rgb.copy()
    count = round(strength * FLAKES_PER_PIXEL * height * width)
    aways = np.sort(NEAR_M * (FAR_M / NEAR_M) ** rng.random(count))[::-1]  # far ones first
    places = rng.random((count, 2)) * (width, height)
    slants = rng.normal(rng.normal(0, 0.5), 0.25, count)  # one wind, and each flake's own flutter
    bright = np.asarray(airlight, np.float32) * np.float32(FLAKE_LIGHT)
    for away, (u, v), slant in zip(aways, places, slants, strict=True):
        radius, fall = max(focal * FLAKE_M / away, 0.6), focal * FALL_M / away
        solid = 0.85 * min(1.0, (focal * FLAKE_M / away / 0.6) ** 2) * min(1.0, away / FOCUS_M)
        reach = int(radius * 2 + fall) + 1
        x0, x1 = max(0, int(u) - reach), min(width, int(u) + reach + 1)
        y0, y1 = max(0, int(v) - reach), min(height, int(v) + reach + 1)
        dx = np.arange(x0, x1, dtype=np.float32) + 0.5 - u
        dy = np.arange(y0, y1, dtype=np.float32)[:, None] + 0.5 - v
        along = np.clip(dy, -fall / 2, fall / 2)  # the nearest point of its path
        square = ((dx - slant * along) ** 2 + (dy - along) ** 2) / (radius * radius)
        cover = solid * np.exp(-square) * (distance[y0:y1, x0:x1] > away)
        patch = rgb[y0:y1, x0:x1]
        patch += cover[..., None] * (bright - patch)
    return rgb


def motion_blur(rgb, depth, hfov_deg, ahead_m, turned_rad):
    """Mean of TAPS samples along each pixel's motion, for a camera that goes `ahead_m` and turns left by
    `turned_rad` while the shutter is open.

    An approximation: everything stands still but the camera; each pixel gathers along its own flow, so a
    near edge does not smear over what lies behind it; nearest samples, the image's edge repeated.
    """
    if ahead_m == 0 and turned_rad == 0:
        return rgb
    height, width = depth.shape
    across, down, focal = rays(height, width, hfov_deg)
    down, nearer = down[:, None], np.float32(ahead_m) / np.maximum(depth, 0.1)
    flow_x = across * nearer + np.float32(turned_rad) * (focal + across**2 / focal)
    flow_y = down * nearer + np.float32(turned_rad) * across * down / focal
    longest = np.float32(MAX_FLOW * width)
    flow_x, flow_y = np.clip(flow_x, -longest, longest), np.clip(flow_y, -longest, longest)
    pixels, total = rgb.reshape(-1, 3), np.zeros_like(rgb)
    columns = np.arange(width, dtype=np.float32)
    rows = np.arange(height, dtype=np.float32)[:, None]
    for k in range(TAPS):
        at = np.float32((k + 0.5) / TAPS - 0.5)
        x = np.clip(np.rint(columns + at * flow_x), 0, width - 1).astype(np.int32)
        y = np.clip(np.rint(rows + at * flow_y), 0, height - 1).astype(np.int32)
        total += pixels[y * width + x]
    return total / np.float32(TAPS)


def spread(rgb, radius):
    """Blur by three box means of 2 radius + 1 pixels, nearly a Gaussian; mirrored at the edges, so that no
    light is lost or won."""
    if radius < 1:
        return rgb
    wide = 2 * radius + 1
    for _ in (0, 1):  # along the rows, then (turned) along the columns
        rgb = rgb.swapaxes(0, 1)
        for _ in range(3):
            edge = ((radius + 1, radius), (0, 0), (0, 0))
            total = np.cumsum(np.pad(rgb, edge, mode="symmetric"), axis=0, dtype=np.float64)
            rgb = ((total[wide:] - total[:-wide]) / wide).astype(np.float32)
    return rgb


def glare(rgb, strength):
    """A share of the light above THRESHOLD, taken BOOST times, scattered by the lens around its source, in
    the source's own colour.

    The source itself stays as it is: it is above screen white with or without what it has lost.
    """
    if strength == 0:
        return rgb
    strongest = rgb.max(axis=-1, keepdims=True)
    above = np.maximum(strongest - np.float32(THRESHOLD), 0) / np.maximum(strongest, 1e-6)
    source = np.float32(0.25 * strength * BOOST) * above * rgb
    if not source.any():
        return rgb
    height = rgb.shape[0]
    # the width of three boxes: sigma = radius, nearly
    return rgb + sum(np.float32(share) * spread(source, round(size * height)) for size, share in SPREAD)


def dirt(rgb, strength, seed, wet):
    """Soft blobs on the lens, far out of focus: dust takes light and scatters a veil; a drop (`wet`) is
    a lens itself and shows the blurred scene upside down."""
    if strength == 0:
        return rgb
    height, width = rgb.shape[:2]
    rng, cover = np.random.default_rng(seed), np.zeros((height, width), np.float32)
    for _ in range(round(4 + 20 * strength)):
        u, v = rng.random() * width, rng.random() * height
        radius = height * (rng.uniform(0.02, 0.07) if wet else rng.uniform(0.01, 0.10))
        firm = rng.uniform(0.4, 1.0)
        x = (np.arange(width, dtype=np.float32) + 0.5 - u)[None] / radius
        y = (np.arange(height, dtype=np.float32) + 0.5 - v)[:, None] / radius
        edge = np.clip(2.0 * (1.25 - np.sqrt(x * x + y * y)), 0, 1)
        cover = np.maximum(cover, np.float32(firm) * edge * edge * (3 - 2 * edge))
    blurred = spread(rgb, round(0.05 * height))
    there = blurred[::-1] if wet else np.float32(0.45) * blurred + np.float32(0.05) * rgb.mean()
    much = (np.float32(DIRT) * strength * cover)[..., None].astype(np.float32)
    return rgb * (1 - much) + there * much


def vignette(rgb, strength, hfov_deg):
    """Natural vignetting, cos^4 of the angle from the axis, to the power of `strength`."""
    if strength == 0:
        return rgb
    across, down, focal = rays(*rgb.shape[:2], hfov_deg)
    square = (across / focal) ** 2 + (down[:, None] / focal) ** 2
    return rgb * ((1 + square) ** np.float32(-2 * strength))[..., None]


def noise(rgb, white_e, read_e, seed):
    """Shot and read noise: Poisson of `white_e` electrons at screen white, and a Gaussian of `read_e`.

    Mean rgb (0 and above), variance rgb / white_e + (read_e / white_e)^2. Light above white saturates.
    """
    if not white_e:
        return rgb
    rng = np.random.default_rng(seed)
    electrons = rng.poisson(np.clip(rgb, 0, 4) * white_e).astype(np.float32)
    electrons += read_e * rng.standard_normal(rgb.shape, np.float32)
    return electrons / np.float32(white_e)
