"""The picture of a step: the query, the retrieved items, the granularity and the reward's terms."""

from __future__ import annotations

import colorsys
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont, ImageOps

if TYPE_CHECKING:
    from dsa_env.rendering import Item, View

WIDTH, HEIGHT = 720, 400
SCALE = 2
"""Everything is drawn twice as large and shrunk at the end, which smooths every edge."""

PAPER = (250, 249, 246)
INK = (32, 36, 44)
MUTED = (128, 134, 144)
RULE = (222, 222, 218)
GREEN = (46, 160, 87)
PALE_GREEN = (226, 243, 231)
RED = (205, 76, 68)
BLUE = (49, 104, 190)
AMBER = (226, 150, 36)

MARGIN = 20
TILE = 128
TILE_TOP = 112
PANEL_TOP = 284

Colour = tuple[int, int, int]


class Canvas:
    """Drawing in the frame's own coordinates, whatever the scale behind it."""

    def __init__(self) -> None:
        self.image = Image.new("RGB", (WIDTH * SCALE, HEIGHT * SCALE), PAPER)
        self.draw = ImageDraw.Draw(self.image)

    def text(
        self, x: float, y: float, words: str, size: int, colour: Colour = INK, anchor: str = "la"
    ) -> None:
        """Write at (x, y); `anchor` as in Pillow."""
        self.draw.text((x * SCALE, y * SCALE), words, colour, _font(size * SCALE), anchor)

    def width(self, words: str, size: int) -> float:
        """Width of a line of text."""
        return self.draw.textlength(words, _font(size * SCALE)) / SCALE

    def box(
        self,
        corners: tuple[float, float, float, float],
        fill: Colour | None = None,
        outline: Colour | None = None,
        line: float = 1,
        radius: float = 0,
    ) -> None:
        """A rectangle (left, top, right, bottom) with round corners."""
        left, top, right, bottom = (edge * SCALE for edge in corners)
        self.draw.rounded_rectangle(
            (left, top, right, bottom), radius * SCALE, fill, outline, round(line * SCALE)
        )

    def dot(self, x: float, y: float, radius: float, fill: Colour) -> None:
        """A filled circle with a paper rim."""
        x, y, r = x * SCALE, y * SCALE, radius * SCALE
        self.draw.ellipse((x - r, y - r, x + r, y + r), fill, PAPER, 2 * SCALE)

    def triangle(self, x: float, y: float, size: float, fill: Colour) -> None:
        """A triangle standing on its tip at (x, y)."""
        points = [(x, y), (x - size, y - 1.6 * size), (x + size, y - 1.6 * size)]
        self.draw.polygon([(a * SCALE, b * SCALE) for a, b in points], fill)

    def tile(self, x: float, y: float, size: float, item: Item) -> None:
        """The item's picture as a square, or a coloured placeholder with its id."""
        side = round(size * SCALE)
        self.image.paste(_tile(item, side), (round(x * SCALE), round(y * SCALE)))

    def array(self) -> NDArray[np.uint8]:
        """The frame [400, 720, 3]."""
        return np.asarray(self.image.reduce(SCALE))


def as_picture(shown: View) -> NDArray[np.uint8]:
    """The view as a picture, [400, 720, 3] uint8."""
    canvas = Canvas()
    _draw_query(canvas, shown)
    if shown.g is None:
        canvas.text(WIDTH / 2, 186, "no granularity chosen yet", 15, MUTED, "mm")
    elif shown.pictures:
        _draw_pictures(canvas, shown.items)
    else:
        _draw_captions(canvas, shown.items)
    canvas.box((MARGIN, PANEL_TOP - 14, WIDTH - MARGIN, PANEL_TOP - 13), RULE)
    _draw_granularity(canvas, shown)
    _draw_terms(canvas, shown)
    return canvas.array()


def _draw_query(canvas: Canvas, shown: View) -> None:
    """Query text or picture at the top left, the setting at the top right."""
    canvas.text(WIDTH - MARGIN, 16, shown.title, 12, MUTED, "ra")
    heading = "query" + (f" - {shown.kind}" if shown.kind else "")
    if not shown.asks_picture:
        canvas.text(MARGIN, 16, heading, 12, MUTED)
        for row, line in enumerate(wrap(canvas, shown.query.label, 20, WIDTH - 2 * MARGIN, 2)):
            canvas.text(MARGIN, 38 + 27 * row, line, 20)
    else:
        canvas.tile(MARGIN, 14, 84, shown.query)
        canvas.text(MARGIN + 98, 16, heading, 12, MUTED)
        canvas.text(MARGIN + 98, 34, shown.query.label, 20)
        room, count = WIDTH - 2 * MARGIN - 98, max(1, 2 // max(1, len(shown.answers)))
        lines = [
            line for answer in shown.answers[:2] for line in wrap(canvas, answer, 13, room, count)
        ]
        for row, line in enumerate(lines):
            canvas.text(MARGIN + 98, 62 + 18 * row, line, 13, MUTED)


def _draw_pictures(canvas: Canvas, items: tuple[Item, ...]) -> None:
    for place, item in enumerate(items):
        x = MARGIN + place * (TILE + 10)
        if item.positive:
            canvas.box((x - 5, TILE_TOP - 5, x + TILE + 5, TILE_TOP + TILE + 5), GREEN, radius=7)
        canvas.tile(x, TILE_TOP, TILE, item)
        colour = GREEN if item.positive else MUTED
        canvas.text(x, TILE_TOP + TILE + 9, f"{place + 1}.", 12, colour)
        canvas.text(x + TILE, TILE_TOP + TILE + 9, f"{item.score:.3f}", 12, MUTED, "ra")


def _draw_captions(canvas: Canvas, items: tuple[Item, ...]) -> None:
    for place, item in enumerate(items):
        y = TILE_TOP - 4 + place * 31
        fill, edge = (PALE_GREEN, GREEN) if item.positive else (PAPER, RULE)
        canvas.box((MARGIN, y, WIDTH - MARGIN, y + 27), fill, edge, 2 if item.positive else 1, 6)
        canvas.text(MARGIN + 12, y + 13.5, f"{place + 1}.", 12, MUTED, "lm")
        room = WIDTH - 2 * MARGIN - 110
        line = wrap(canvas, item.label, 15, room, 1)[0]
        canvas.text(MARGIN + 36, y + 13.5, line, 15, INK, "lm")
        canvas.text(WIDTH - MARGIN - 12, y + 13.5, f"{item.score:.3f}", 12, MUTED, "rm")


def _draw_granularity(canvas: Canvas, shown: View) -> None:
    """The bar from coarse to fine, the g used as a knob, the oracle's as a triangle."""
    left, right, y = MARGIN + 8, 330, PANEL_TOP + 56
    used = "granularity" if shown.g is None else f"granularity {shown.g:.2f}"
    canvas.text(MARGIN, PANEL_TOP, used, 15)
    if shown.oracle_g is not None:
        label = f"oracle {shown.oracle_g:.2f}"
        canvas.text(right + 8, PANEL_TOP + 2, label, 12, AMBER, "ra")
    canvas.box((left - 4, y - 4, right + 4, y + 4), RULE, radius=4)
    if shown.g is not None:
        x = left + shown.g * (right - left)
        canvas.box((left - 4, y - 4, max(x, left) + 1, y + 4), BLUE, radius=4)
    if shown.oracle_g is not None:
        canvas.triangle(left + shown.oracle_g * (right - left), y - 8, 6, AMBER)
    if shown.g is not None:
        canvas.dot(left + shown.g * (right - left), y, 10, BLUE)
    canvas.text(left - 4, y + 15, "coarse", 13, MUTED)
    canvas.text(right + 4, y + 15, "fine", 13, MUTED, "ra")


def _draw_terms(canvas: Canvas, shown: View) -> None:
    """Bars from -1 to 1 for the reward's terms, and the numbers below."""
    left, right = 480, 640
    middle = (left + right) / 2
    for row, (name, value) in enumerate(list(shown.terms.items())[:3]):
        y = PANEL_TOP + 9 + 24 * row
        words = wrap(canvas, name.replace("_", " "), 13, 100, 1)[0]
        canvas.text(left - 12, y, words, 13, INK, "rm")
        canvas.box((left, y - 4, right, y + 4), RULE, radius=4)
        end = middle + float(np.clip(value, -1, 1)) * (right - middle)
        if abs(end - middle) >= 1:
            colour = GREEN if value > 0 else RED
            canvas.box((min(middle, end), y - 4, max(middle, end), y + 4), colour, radius=3)
        canvas.box((middle - 0.5, y - 7, middle + 0.5, y + 7), MUTED)
        canvas.text(WIDTH - MARGIN, y, f"{value:+.2f}", 13, INK, "rm")
    x = float(WIDTH - MARGIN)
    for name, number in reversed(shown.numbers.items()):
        canvas.text(x, PANEL_TOP + 92, number, 14, INK, "rm")
        x -= canvas.width(number, 14) + 5
        canvas.text(x, PANEL_TOP + 92, name, 12, MUTED, "rm")
        x -= canvas.width(name, 12) + 14


def wrap(canvas: Canvas, words: str, size: int, room: float, lines: int) -> list[str]:
    """Break into at most `lines` lines of at most `room` pixels; what is left out becomes dots."""
    wrapped = [""]
    for word in words.split():
        longer = f"{wrapped[-1]} {word}".strip()
        if wrapped[-1] and canvas.width(longer, size) > room:
            wrapped.append(word)
        else:
            wrapped[-1] = longer
    shown = wrapped[:lines]
    cut = len(wrapped) > lines
    while canvas.width(shown[-1] + ("..." if cut else ""), size) > room and shown[-1]:
        shown[-1], cut = shown[-1][:-1].rstrip(), True
    return [*shown[:-1], shown[-1] + ("..." if cut else "")]


@cache
def _font(size: int) -> Any:
    return ImageFont.load_default(size)


@cache
def _colours(id: int) -> tuple[Colour, Colour]:
    """Two neighbouring hues for an id; ids that are close get hues that are far apart."""
    hue = id * 0.6180339887 % 1.0

    def colour(shift: float, light: float) -> Colour:
        red, green, blue = colorsys.hls_to_rgb((hue + shift) % 1.0, light, 0.42)
        return round(255 * red), round(255 * green), round(255 * blue)

    return colour(0.0, 0.62), colour(0.07, 0.74)


def _tile(item: Item, side: int) -> Image.Image:
    """A square picture of the item; a placeholder where it has none that can be read."""
    if item.picture is not None:
        try:
            with Image.open(item.picture) as picture:
                return ImageOps.fit(picture.convert("RGB"), (side, side), Image.Resampling.LANCZOS)
        except OSError:  # moved, truncated or no picture: show the placeholder instead
            pass
    below, above = _colours(item.id)
    tile = Image.new("RGB", (side, side), below)
    draw = ImageDraw.Draw(tile)
    draw.polygon([(0, 0), (side, 0), (0, side)], above)
    draw.text((side / 2, side / 2), f"#{item.id}", (255, 255, 255), _font(side // 5), "mm")
    return tile
