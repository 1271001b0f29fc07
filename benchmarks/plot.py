"""A bar chart of the ratios to native as SVG, on a logarithmic scale."""

import math
import xml.etree.ElementTree as Tree

from .targets import TARGETS
from .ways import NATIVE
from .workloads import START

# Hues that colour-blind people can tell apart (Okabe and Ito, "Color Universal Design", 2008).
COLOURS = ["#0072b2", "#56b4e9", "#d55e00", "#009e73", "#cc79a7", "#e69f00"]
LEFT, RIGHT, TOP, BAR, GAP, WIDTH = 120, 70, 70, 9, 10, 960


def element(parent, tag, text=None, **attributes):
    child = Tree.SubElement(parent, tag, {name.replace("_", "-"): f"{value:.1f}" if isinstance(value, float) else str(value)
                                          for name, value in attributes.items()})
    child.text = text
    return child


def scale(ratios):
    """(function from a ratio to its place, the ratios that get a line)"""
    low = min([0.5, *ratios])
    high = max([2.0, *ratios]) * 1.1
    width = WIDTH - LEFT - RIGHT

    def place(ratio):
        return LEFT + width * (math.log(ratio) - math.log(low)) / (math.log(high) - math.log(low))

    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    lines = [step * 10.0 ** decade for decade in decades for step in (1, 2, 5)]
    return place, [line for line in lines if low <= line <= high]


def svg(report):
    """The text of the file."""
    names = [way.name for way in report.ways if way.name != NATIVE]
    rows = []       # (workload, [(way, ratio)])
    for name, result in report.results.items():
        found = [(way, report.judged(result, way)) for way in names]
        if any(ratio for _, ratio in found):
            rows.append((name, found))
    place, lines = scale([ratio for _, found in rows for _, ratio in found if ratio])
    group = BAR * len(names) + GAP
    height = TOP + group * len(rows) + 30
    root = Tree.Element("svg", {"xmlns": "http://www.w3.org/2000/svg", "viewBox": f"0 0 {WIDTH} {height}",
                                "width": str(WIDTH), "height": str(height), "font-family": "sans-serif", "font-size": "11"})
    element(root, "rect", width=WIDTH, height=height, fill="white")
    element(root, "text", f"Time beside native, less is better ({report.conditions['date']}, {report.conditions['kernel']}); "
            f"commands without the start of /bin/true, which is {START!r}", x=10, y=18, font_size=13)
    for index, name in enumerate(names):
        element(root, "rect", x=LEFT + index * 150, y=30, width=12, height=12, fill=COLOURS[index % len(COLOURS)])
        element(root, "text", name, x=LEFT + index * 150 + 17, y=40)
    element(root, "text", "▏ target", x=LEFT + len(names) * 150 + 5, y=40, fill="#b00000")
    for line in lines:
        element(root, "line", x1=place(line), x2=place(line), y1=TOP - 4, y2=height - 20, stroke="#000" if line == 1 else "#ddd")
        element(root, "text", f"{line:g}×", x=place(line), y=TOP - 8, text_anchor="middle", fill="#555")
    for index, (name, found) in enumerate(rows):
        bars(root, name, found, TOP + index * group, place)
    return Tree.tostring(root, encoding="unicode", xml_declaration=True) + "\n"


def bars(root, name, found, top, place):
    """The bars of one workload, from native's 1 to each ratio, and the mark of its target."""
    element(root, "text", name, x=LEFT - 8, y=top + BAR * len(found) / 2 + 4, text_anchor="end")
    for index, (way, ratio) in enumerate(found):
        if not ratio:
            continue
        start, end = sorted((place(1.0), place(ratio)))
        bar = element(root, "rect", x=start, y=top + index * BAR, width=max(end - start, 1.0), height=BAR - 1,
                      fill=COLOURS[index % len(COLOURS)])
        element(bar, "title", f"{name}, {way}: {ratio:.2f} × native")
        element(root, "text", f"{ratio:.2f}", x=end + 3, y=top + index * BAR + BAR - 1, font_size=8, fill="#333")
    target = TARGETS.get(name)
    if target and target.ratio:
        element(root, "line", x1=place(target.ratio), x2=place(target.ratio), y1=top - 2, y2=top + BAR * len(found) + 1,
                stroke="#b00000", stroke_width=2)
