"""The view of an experiment's runs that MLflow's page opens with, and the link to it.

MLflow's UI keeps a view that a user saves in a tag of the experiment, and reads the tag when a link names the view.
What the tag looks like is private to MLflow and may change with any minor version; hence `VERIFIED`.
"""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Iterable
from typing import Any

VERIFIED = "3.17"
"""The minor version of MLflow whose pages are known to read the tag, by a test."""

KEY = "uniform-accuracy"
TAG = f"mlflow.sharedViewState.{KEY}"
NAME = "Uniform accuracy by loss"

_MODE = "workflowType=machine_learning"
"""Without it, MLflow's pages are about an LLM's traces."""

_BARS = ("uniform_accuracy", "accuracy_at_validation_threshold", "sample_wise_accuracy")
_CURVES = ("validation_uniform_accuracy", "validation_sample_wise_accuracy", "train_loss")

_WIDTHS = {
    "attributes.`Run Name`": 280,
    "runDateAndNestInfo": 130,  # when it was created
    "metrics.`uniform_accuracy`": 230,
    "metrics.`accuracy_at_validation_threshold`": 230,
    "metrics.`sample_wise_accuracy`": 230,
    "params.`backbone`": 110,
    "params.`dataset`": 110,
    "params.`seed`": 70,
    "duration": 90,
}
"""Columns of the table from left to right, with their width in pixels."""

_SECTIONS = {"accuracy": "Accuracy by loss", "curves": "Learning curves", "others": "Model metrics"}
"""Of the charts. MLflow puts those of all other metrics into the last; its name is MLflow's."""


def saved(losses: Iterable[str], when: int) -> str:
    """The tag's value: uniform accuracy by loss, and learning curves, of cells only.

    Args:
        losses: The labels of the experiment's losses. Their groups are closed, so that the table has a row per loss.
        when: Milliseconds since 1970.
    """
    state = json.dumps(_state(losses))
    packed = "deflate;" + base64.b64encode(zlib.compress(state.encode())).decode()
    return json.dumps({"name": NAME, "createdAt": when, "updatedAt": when, "state": packed})


def state_of(value: str) -> dict[str, Any]:
    """What a tag's value says of the table and the charts.

    Raises:
        ValueError: It is no saved view.
    """
    packed = json.loads(value)["state"]
    start, found, rest = packed.partition("deflate;")
    return json.loads(zlib.decompress(base64.b64decode(rest)) if found and not start else packed)


def runs_page(address: str, experiment_id: str, *, with_view: bool) -> str:
    """The link to an experiment's runs.

    Args:
        address: The UI's.
        experiment_id: MLflow's.
        with_view: Whether the saved view is there and its page reads it.
    """
    view = f"viewStateShareKey={KEY}&" if with_view else ""
    return f"{address.rstrip('/')}/#/experiments/{experiment_id}/runs?{view}{_MODE}"


def experiments_page(address: str) -> str:
    """The link to the list of all experiments."""
    return f"{address.rstrip('/')}/#/experiments?{_MODE}"


def _state(losses: Iterable[str]) -> dict[str, Any]:
    return {
        # Without the run of the comparison, and without replicas, which would count twice.
        "searchFilter": "tags.cell_id IS NOT NULL AND tags.replica IS NULL",
        "orderByKey": "metrics.`uniform_accuracy`",
        "orderByAsc": False,
        "startTime": "ALL",
        "lifecycleFilter": "Active",
        "datasetsFilter": [],
        "modelVersionFilter": "All Runs",
        "selectedColumns": [column for column in _WIDTHS if column.startswith(("metrics", "params"))],
        "columnOrder": [*_WIDTHS],
        "columnWidths": _WIDTHS,
        "runsHiddenMode": "SHOW_ALL",
        "compareRunCharts": [*map(_bar, _BARS), *map(_curve, _CURVES)],
        "compareRunSections": [_section(*section) for section in _SECTIONS.items()],
        "viewMaximized": False,
        "runListHidden": False,
        "isAccordionReordered": True,  # else MLflow sorts the sections by name
        "useGroupedValuesInCharts": True,
        "hideEmptyCharts": True,
        "groupBy": {"aggregateFunction": "average", "groupByKeys": [{"mode": "param", "groupByData": "loss"}]},
        "groupsExpanded": {f"param.loss.{loss}": False for loss in losses},
        "globalLineChartConfig": {"xAxisKey": "step", "lineSmoothness": 0, "selectedXAxisMetricKey": ""},
    }


def _section(identity: str, name: str) -> dict[str, Any]:
    is_open = identity != "others"
    return {
        "uuid": identity,
        "name": name,
        "display": is_open,
        "isReordered": False,
        "deleted": False,
        "isGenerated": False,
    }


def _bar(metric: str) -> dict[str, Any]:
    return {"type": "BAR", "metricSectionId": "accuracy", **_chart(metric)}


def _curve(metric: str) -> dict[str, Any]:
    return {
        "type": "LINE",
        "metricSectionId": "curves",
        **_chart(metric),
        "lineSmoothness": 0,
        "xAxisScaleType": "linear",
        "scaleType": "linear",
        "range": {},
        "xAxisKey": "step",
        "selectedXAxisMetricKey": "",
        "yAxisKey": "metric",
        "yAxisExpressions": [],
        "ignoreOutliers": False,
        "useGlobalXaxisKey": True,
        "useGlobalLineSmoothing": True,
    }


def _chart(metric: str) -> dict[str, Any]:
    # Not "generated": MLflow would make a curve of a bar whose metric has a step.
    return {
        "uuid": metric,
        "runsCountToCompare": 10,
        "deleted": False,
        "isGenerated": False,
        "displayName": metric,
        "metricKey": metric,
    }
