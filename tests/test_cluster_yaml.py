"""The cluster launcher file is one that Ray's own validation accepts."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import pytest
import yaml

ROOT = Path(__file__).parent.parent


@pytest.fixture
def config() -> dict[str, object]:
    return yaml.safe_load((ROOT / "cluster.yaml").read_text(encoding="utf-8"))


@pytest.mark.filterwarnings("ignore")
def test_rays_schema_accepts_the_cluster_file(config: dict[str, object]) -> None:
    import ray.autoscaler

    schema = json.loads((Path(ray.autoscaler.__file__).parent / "ray-schema.json").read_text(encoding="utf-8"))
    jsonschema.validate(config, schema)


@pytest.mark.filterwarnings("ignore")
def test_rays_own_validation_accepts_the_cluster_file_with_its_defaults(config: dict[str, object]) -> None:
    from ray.autoscaler._private.util import prepare_config, validate_config

    validate_config(prepare_config(config))


@pytest.mark.filterwarnings("ignore")
def test_rays_schema_would_notice_a_misspelt_field(config: dict[str, object]) -> None:
    import ray.autoscaler

    schema = json.loads((Path(ray.autoscaler.__file__).parent / "ray-schema.json").read_text(encoding="utf-8"))
    with pytest.raises(jsonschema.ValidationError, match="max_workerz"):
        jsonschema.validate({**config, "max_workerz": 3}, schema)


def test_the_head_trains_nothing_and_workers_are_spot_machines(config: dict[str, object]) -> None:
    kinds = config["available_node_types"]
    assert isinstance(kinds, dict)
    assert kinds["head"]["resources"]["CPU"] == 0
    assert kinds["gpu"]["node_config"]["InstanceMarketOptions"] == {"MarketType": "spot"}
