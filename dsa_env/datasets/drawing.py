"""Draws a scene graph as an anti-aliased picture (Pillow)."""

from __future__ import annotations

import math
from functools import cache

import numpy as np
from PIL import Image, ImageChops, ImageDraw, ImageFilter

from dsa_env.datasets.scenes import PICTURE_SIZE, SIZES, Scene, project

RGB = {
    "gray": (118, 118, 122),
    "red": (196, 38, 38),
    "blue": (42, 75, 205),
    "green": (32, 128, 36),
    "brown": (124, 72, 32),
    "purple": (132, 42, 190),
    "cyan": (40, 200, 205),
    "yellow": (245, 215, 40),
}
_LIGHT_TINT = {  # multiplies the whole picture
    "bright": (255, 255, 255),
    "warm": (255, 205, 150),
    "cold": (165, 195, 255),
    "dim": (135, 130, 135),
}
_CANVAS = 2 * PICTURE_SIZE  # everything is composed at twice the size, then halved
_SPRITE = 128  # side of a master sprite, which spans four object radii
_SUPER = 3  # master sprites are drawn this much larger
_SUN = np.array([-0.45, -0.62, 0.64])  # towards the light: left, up, to the viewer
_TILT_SIN, _TILT_COS = 0.68, 0.73  # how far the floor and the heights are foreshortened


def _shade(base: np.ndarray, diffuse: np.ndarray, glint: np.ndarray, metal: bool) -> np.ndarray:
    """Colours [H, W, 3] in [0, 255] of a surface from its diffuse light and its glint."""
    ambient, strength, shine = (0.28, 0.75, 1.0) if metal else (0.42, 0.62, 0.12)
    color = base * (ambient + strength * diffuse)[..., None] + 255 * shine * glint[..., None]
    return np.clip(color, 0, 255)


def _sphere(side: int, base: np.ndarray, metal: bool) -> Image.Image:
    axis = (np.arange(side) + 0.5) / side * 4 - 2  # in radii
    x, y = np.meshgrid(axis, axis)
    inside = x**2 + y**2 <= 1
    z = np.sqrt(np.clip(1 - x**2 - y**2, 0, 1))
    lit = np.clip(x * _SUN[0] + y * _SUN[1] + z * _SUN[2], 0, 1)
    glint = lit ** (28 if metal else 6)
    if metal:  # a bright horizon reflected in the lower half
        glint = glint + 0.35 * np.exp(-(((y - 0.35 + 0.25 * x**2) / 0.10) ** 2)) * inside
    color = _shade(base, lit, glint, metal)
    return Image.fromarray(np.dstack([color, 255 * inside]).astype(np.uint8), "RGBA")


def _cylinder(side: int, base: np.ndarray, metal: bool) -> Image.Image:
    axis = (np.arange(side) + 0.5) / side * 4 - 2
    x, y = np.meshgrid(axis, axis)
    radius, half = 0.86, 0.8 * _TILT_COS
    ring = _TILT_SIN * np.sqrt(np.clip(radius**2 - x**2, 0, None))
    body = (np.abs(x) <= radius) & (y <= half + ring) & (y >= -half)
    top = (np.abs(x) <= radius) & (np.abs(y + half) <= ring)
    across = x / radius
    lit = np.clip(-0.62 * across + 0.72 * np.sqrt(np.clip(1 - across**2, 0, 1)), 0, 1)
    stripes = np.exp(-(((across + 0.45) / 0.12) ** 2)) + 0.6 * np.exp(
        -(((across - 0.5) / 0.07) ** 2)
    )
    glint = stripes * 0.75 if metal else 0.4 * np.exp(-(((across + 0.4) / 0.35) ** 2))
    color = _shade(base, lit * 0.85, glint, metal)
    lid = _shade(base, np.full_like(x, 0.95), np.full_like(x, 0.18 if metal else 0.25), metal)
    color = np.where(top[..., None], lid, color)
    return Image.fromarray(np.dstack([color, 255 * (body | top)]).astype(np.uint8), "RGBA")


def _cube(side: int, base: np.ndarray, metal: bool, rotation: float) -> Image.Image:
    angle, half = math.radians(rotation), 0.78
    corners = [angle + math.pi / 4 + k * math.pi / 2 for k in range(4)]
    floor = [
        (math.cos(a) * half * math.sqrt(2), math.sin(a) * half * math.sqrt(2)) for a in corners
    ]

    def pixel(point: tuple[float, float], height: float) -> tuple[float, float]:
        x, y = point[0], -point[1] * _TILT_SIN - height * _TILT_COS
        return (x + 2) * side / 4, (y + 2) * side / 4

    image = Image.new("RGBA", (side, side))
    rows = np.linspace(0, 1, side)[:, None] * np.ones((1, side))
    columns = np.linspace(0, 1, side)[None, :] * np.ones((side, 1))
    faces: list[tuple[list[tuple[float, float]], float]] = []
    for k in range(4):
        a, b = floor[k], floor[(k + 1) % 4]
        middle = angle + (k + 1) * math.pi / 2
        if math.sin(middle) < -1e-6:  # the side looks at the viewer
            lit = 0.30 + 0.38 * max(0.0, -math.cos(middle))
            faces.append(([pixel(a, half), pixel(b, half), pixel(b, -half), pixel(a, -half)], lit))
    faces.append(([pixel(p, half) for p in floor], 0.98))
    for polygon, lit in faces:
        mask = Image.new("L", (side, side))
        ImageDraw.Draw(mask).polygon(polygon, fill=255)
        bands = np.exp(-(((rows + 0.6 * columns - 0.72) / 0.06) ** 2)) + 0.5 * np.exp(
            -(((rows + 0.6 * columns - 0.9) / 0.03) ** 2)
        )
        glint = bands * 0.6 if metal else np.full_like(rows, 0.15 if lit > 0.9 else 0.0)
        color = _shade(base, np.full_like(rows, lit) + 0.12 * (0.5 - rows), glint, metal)
        face = Image.fromarray(color.astype(np.uint8), "RGB")
        image.paste(face, (0, 0), mask)
    return image


@cache
def _sprite(shape: str, color: str, material: str, rotation: float) -> Image.Image:
    """Master picture of an object, premultiplied so that shrinking keeps clean edges."""
    side, base, metal = _SPRITE * _SUPER, np.array(RGB[color], dtype=float), material == "metal"
    if shape == "sphere":
        image = _sphere(side, base, metal)
    elif shape == "cylinder":
        image = _cylinder(side, base, metal)
    else:
        image = _cube(side, base, metal, rotation)
    return image.convert("RGBa").reduce(_SUPER)


@cache
def _sprite_bounds(shape: str, rotation: float) -> tuple[float, float, float, float]:
    """Left, top, right, bottom of an object around its centre, in object radii."""
    box = _sprite(shape, "gray", "rubber", rotation).getbbox()
    assert box is not None, "every object shows"
    left, top, right, bottom = (edge / _SPRITE * 4 - 2 for edge in box)
    return left, top, right, bottom


@cache
def _shadow(side: int) -> Image.Image:
    """A soft dark ellipse."""
    image = Image.new("L", (side, side))
    box = (side * 0.2, side * 0.32, side * 0.8, side * 0.72)
    ImageDraw.Draw(image).ellipse(box, fill=150)
    return image.filter(ImageFilter.GaussianBlur(side * 0.07))


@cache
def _floor(kind: str) -> Image.Image:
    """The floor at canvas size, with its texture, seen by the same camera as the objects."""
    rng = np.random.default_rng(sum(kind.encode()))
    rows, columns = np.mgrid[0:_CANVAS, 0:_CANVAS] / _CANVAS * PICTURE_SIZE
    _, horizon, _ = project(0, 1e9)
    scale = (rows - horizon) / (project(0, 0)[1] - horizon) * project(0, 0)[2]
    depth, across = 285.0 / scale, (columns - PICTURE_SIZE / 2) / scale
    grain = np.asarray(
        Image.fromarray(rng.integers(0, 255, (_CANVAS, _CANVAS), dtype=np.uint8)).filter(
            ImageFilter.GaussianBlur(1.2)
        ),
        dtype=float,
    )
    grain = (grain - grain.mean()) / grain.std()
    base = {
        "wooden": (176, 128, 84),
        "tiled": (205, 205, 200),
        "grassy": (112, 158, 86),
        "sandy": (218, 198, 148),
        "snowy": (238, 242, 248),
        "stone": (140, 136, 134),
    }[kind]
    tone = np.ones((_CANVAS, _CANVAS))
    if kind == "wooden":
        plank = np.floor(across / 0.8)
        tone += 0.07 * np.sin(plank * 12.9898) + 0.02 * grain
        tone -= 0.22 * (np.abs(across / 0.8 - plank) < 0.05)
    elif kind == "tiled":
        u, v = across / 1.3, depth / 1.3
        tone -= 0.13 * ((np.floor(u) + np.floor(v)) % 2) - 0.01 * grain
    elif kind == "grassy":
        tone += 0.10 * grain
    elif kind == "sandy":
        tone += 0.035 * np.sin(depth * 9 + 1.2 * np.sin(across * 2.0)) + 0.02 * grain
    elif kind == "snowy":
        tone += 0.012 * grain
    else:
        u, v = across / 1.0, depth / 0.7
        u = u + 0.5 * (np.floor(v) % 2)
        tone += 0.06 * np.sin(np.floor(u) * 7.1 + np.floor(v) * 3.7) + 0.03 * grain
        tone -= 0.25 * ((np.abs(u - np.round(u)) < 0.05) | (np.abs(v - np.round(v)) < 0.06))
    tone *= 0.86 + 0.2 * rows / PICTURE_SIZE  # the back lies a little darker
    color = np.clip(np.array(base) * tone[..., None], 0, 255)
    return Image.fromarray(color.astype(np.uint8), "RGB")


@cache
def _tint(light: str) -> Image.Image:
    """What multiplies the finished picture: the light's colour, falling off to the corners."""
    axis = np.linspace(-1, 1, PICTURE_SIZE)
    x, y = np.meshgrid(axis, axis)
    fall = 1 - (0.22 if light == "dim" else 0.10) * np.clip((x + 0.3) ** 2 + (y + 0.3) ** 2, 0, 2)
    color = np.array(_LIGHT_TINT[light]) * fall[..., None]
    return Image.fromarray(color.astype(np.uint8), "RGB")


def object_boxes(scene: Scene) -> np.ndarray:
    """Boxes [objects, 4] float32 as (x, y, width, height) in pixels of the picture."""
    boxes = []
    for item in scene["objects"]:
        x, y, _ = item["3d_coords"]
        px, py, scale = project(x, y)
        unit = SIZES[item["size"]] * scale
        py -= 0.75 * unit
        left, top, right, bottom = _sprite_bounds(item["shape"], _turn(item))
        boxes.append(
            (px + left * unit, py + top * unit, (right - left) * unit, (bottom - top) * unit)
        )
    return np.array(boxes, dtype=np.float32).reshape(-1, 4)


def _turn(item: dict[str, object]) -> float:
    """The rotation that shows: only a cube's, by quarter turns the same."""
    return float(item["rotation"]) % 90 if item["shape"] == "cube" else 0.0  # type: ignore[arg-type]


def draw(scene: Scene) -> Image.Image:
    """The picture of a scene of the embedded world: RGB, 128 x 128 px."""
    properties = scene["properties"]
    canvas = _floor(properties["floor"]).copy()
    ratio = _CANVAS / PICTURE_SIZE
    for item in sorted(scene["objects"], key=lambda item: -item["3d_coords"][1]):  # far to near
        x, y, _ = item["3d_coords"]
        px, py, scale = project(x, y)
        unit = SIZES[item["size"]] * scale
        py -= 0.75 * unit
        side = max(8, round(4 * unit * ratio))
        left, top = round(px * ratio - side / 2), round(py * ratio - side / 2)
        shade = _shadow(side)
        canvas.paste((15, 12, 20), (left + side // 10, top + side // 7), shade)
        master = _sprite(item["shape"], item["color"], item["material"], _turn(item))
        sprite = master.resize((side, side), Image.Resampling.BILINEAR, reducing_gap=2.0)
        sprite = sprite.convert("RGBA")
        canvas.paste(sprite, (left, top), sprite)
    return ImageChops.multiply(canvas.reduce(2), _tint(properties["light"]))
