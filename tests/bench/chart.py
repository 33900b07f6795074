"""Line charts as SVG, with nothing but the standard library."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

COLOURS = ("#1b6ca8", "#c8553d", "#5b8c5a", "#8e6c8a")
WIDTH, HEIGHT, LEFT, BELOW = 720, 220, 60, 50

Points = Sequence[tuple[float, float]]


def chart(panels: Sequence[tuple[str, str, Mapping[str, Points], float]]) -> str:
    """Panels below each other: (title, what x is, lines by name, the top of y); x begins at 0, y too."""
    height = HEIGHT * len(panels)
    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" font-family="sans-serif">']
    parts.append(f'<rect width="{WIDTH}" height="{height}" fill="white"/>')
    for number, (title, unit, lines, top) in enumerate(panels):
        parts.append(f'<g transform="translate(0 {number * HEIGHT})">{_panel(title, unit, lines, top)}</g>')
    return "\n".join([*parts, "</svg>"]) + "\n"


def _panel(title: str, unit: str, lines: Mapping[str, Points], top: float) -> str:
    last = max((x for points in lines.values() for x, _ in points), default=1.0) or 1.0
    across, up = WIDTH - LEFT - 20, HEIGHT - BELOW - 30

    def at(x: float, y: float) -> str:
        return f"{LEFT + across * x / last:.1f},{30 + up * (1 - min(y, top) / top):.1f}"

    parts = [f'<text x="{LEFT}" y="18" font-size="14">{escape(title)}</text>']
    for part in range(5):
        value = top * part / 4
        y = at(0, value).partition(",")[2]
        parts.append(f'<line x1="{LEFT}" x2="{LEFT + across}" y1="{y}" y2="{y}" stroke="#dddddd"/>')
        parts.append(f'<text x="{LEFT - 8}" y="{y}" font-size="11" text-anchor="end">{value:.4g}</text>')
    parts.append(
        f'<text x="{LEFT + across}" y="{HEIGHT - 32}" font-size="11" text-anchor="end">{last:.3g} {unit}</text>'
    )
    for number, (name, points) in enumerate(lines.items()):
        colour = COLOURS[number % len(COLOURS)]
        path = " ".join(at(x, y) for x, y in points)
        parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="1.5"/>')
        x = LEFT + number * 200
        parts.append(f'<text x="{x}" y="{HEIGHT - 14}" font-size="12" fill="{colour}">{escape(name)}</text>')
    return "\n".join(parts)
