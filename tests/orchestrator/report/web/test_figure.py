"""A figure in plain data, against Plotly's own package; and the Plotly that pages contain."""

from __future__ import annotations

import base64
import gzip
import hashlib
import re
from pathlib import Path
from typing import Any

import plotly.graph_objects as go
import pytest
from plotly.subplots import make_subplots

from orchestrator.report.web.figure import BUNDLE, Figure, plotly

HOSTILE = "</script><script>alert(1)</script>"


@pytest.mark.parametrize("rows", [1, 2, 5])
@pytest.mark.parametrize("shares_x", [True, False])
def test_panels_lie_where_plotlys_lie(rows: int, *, shares_x: bool) -> None:
    ours = Figure(rows, gap=0.3 / rows, shares_x=shares_x).layout
    theirs = make_subplots(rows=rows, vertical_spacing=0.3 / rows, shared_xaxes=shares_x).to_plotly_json()["layout"]
    del theirs["template"]
    assert ours.keys() == theirs.keys()
    for name, axis in theirs.items():
        assert ours[name].pop("domain") == pytest.approx(axis.pop("domain"))
        assert ours[name] == axis


def both() -> tuple[dict[str, Any], dict[str, Any]]:
    """The same figure, ours and Plotly's, without the axes."""
    ours = Figure(2)
    ours.add("scatter", 2, x=[1], y=[2], marker={"size": 9})
    ours.add("bar", x=[1], y=[2])
    ours.add_vertical(0.5, 2, color="#000000", width=1)
    ours.add_text("here", x=1, y=0)
    ours.change_axes("y", nticks=4)
    ours.change_axes("x", 2, range=[0, 1])
    theirs = make_subplots(rows=2)
    theirs.add_scatter(x=[1], y=[2], marker={"size": 9}, row=2, col=1)
    theirs.add_bar(x=[1], y=[2])
    theirs.add_vline(0.5, line={"color": "#000000", "width": 1}, row=2, col=1)  # pyright: ignore[reportArgumentType]
    theirs.add_annotation(text="here", x=1, y=0, showarrow=False)
    theirs.update_yaxes(nticks=4)
    theirs.update_xaxes(range=[0, 1], row=2, col=1)
    return ours.to_json(), theirs.to_plotly_json()


def test_a_figure_has_a_short_plain_text() -> None:
    figure = Figure()
    assert repr(figure) == "<Figure: empty>"
    for place in range(1000):
        figure.add("scatter", x=[place] * 1000, y=[place] * 1000)
    figure.add("bar", x=[1], y=[2])
    assert repr(figure) == "<Figure: 1000 scatter traces, 1 bar trace>"


def test_traces_lines_texts_and_axes_are_plotlys() -> None:
    ours, theirs = both()
    assert ours["data"] == theirs["data"]
    assert ours["layout"]["shapes"] == theirs["layout"]["shapes"]
    assert ours["layout"]["annotations"] == theirs["layout"]["annotations"]
    for name in ("xaxis", "xaxis2", "yaxis", "yaxis2"):
        changed = {key: ours["layout"][name].get(key) for key in ("nticks", "range")}
        assert changed == {key: theirs["layout"][name].get(key) for key in changed}


def test_plotlys_package_takes_a_figure_over() -> None:
    taken = go.Figure(both()[0])
    assert [trace.type for trace in taken.data] == ["scatter", "bar"]


def test_a_page_of_its_own_has_plotly_and_no_name_can_end_its_script(tmp_path: Path) -> None:
    figure = Figure()
    figure.add("scatter", x=[1], y=[1], name=HOSTILE)
    figure.write_html(tmp_path / "figure.html")
    content = (tmp_path / "figure.html").read_text(encoding="utf-8")
    packed = re.findall(r'id="plotly">([^<]+)<', content)
    assert [gzip.decompress(base64.b64decode(each)).decode() for each in packed] == [plotly()]
    assert HOSTILE not in content
    assert len(content) < 0.5 * len(plotly())
    assert "Plotly.newPlot(" in content
    assert not re.findall(r"<script[^>]+src", content)


def test_a_notebook_shows_a_figure_as_high_as_it_is() -> None:
    figure = Figure()
    figure.layout["height"] = 300
    shown = figure._repr_html_()
    assert shown.startswith('<iframe srcdoc="&lt;!DOCTYPE html&gt;')
    assert shown.endswith('height: 320px"></iframe>')
    assert shown.count('"') == 4


def test_the_plotly_of_pages_is_the_published_one_with_its_licence() -> None:
    for recorded in (BUNDLE / "SHA256").read_text(encoding="ascii").splitlines():
        digest, name = recorded.split()
        assert hashlib.sha256((BUNDLE / name).read_bytes()).hexdigest() == digest
    assert {path.name for path in BUNDLE.iterdir()} == {"LICENSE", "SHA256", "VERSION", "plotly-cartesian.min.js"}
    package, _, version = (BUNDLE / "VERSION").read_text(encoding="ascii").strip().rpartition("@")
    assert package == "plotly.js-cartesian-dist-min"
    assert f"(cartesian - minified) v{version}\n" in plotly()[:100]
    assert "Permission is hereby granted, free of charge" in (BUNDLE / "LICENSE").read_text(encoding="ascii")
