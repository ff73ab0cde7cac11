"""Sample logs of lm-eval and inspect_ai, drawn in the format that these programs write."""

from __future__ import annotations

import json
import math
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

from orchestrator import judge

DOCUMENTS = 120


def right(model: str) -> list[bool]:
    share = {"small-1b": 0.5, "large-7b": 0.8}[model]
    return (np.random.default_rng(len(model)).random(DOCUMENTS) < share).tolist()


def difference() -> tuple[float, float, float, int]:
    """As by Bonett & Price 2012, for the large model against the small one."""
    pairs = list(zip(right("large-7b"), right("small-1b"), strict=True))
    gained, lost = pairs.count((True, False)), pairs.count((False, True))
    gain, loss = (gained + 1) / (DOCUMENTS + 2), (lost + 1) / (DOCUMENTS + 2)
    half = stats.norm.ppf(0.975) * math.sqrt((gain + loss - (gain - loss) ** 2) / (DOCUMENTS + 2))
    return (gained - lost) / DOCUMENTS, gain - loss - half, gain - loss + half, DOCUMENTS


def lm_eval(folder: Path, model: str, filters: dict[str, list[bool]]) -> Path:
    """`results/MODEL/samples_TASK_DATE.jsonl`, as `--log_samples --output_path results` writes it."""
    lines = [
        {
            "doc_id": number,
            "doc": {"question": f"What is {number} + 1?", "answer": f"#### {number + 1}"},
            "target": f"#### {number + 1}",
            "arguments": {"gen_args_0": {"arg_0": f"Q: {number} + 1?", "arg_1": {"until": ["Q:"]}}},
            "resps": [[f"It is {number + is_right}."]],
            "filtered_resps": [f"{number + is_right}"],
            "filter": name,
            "metrics": ["exact_match"],
            "doc_hash": f"{number:064x}",
            "prompt_hash": f"{number + 1:064x}",
            "target_hash": f"{number + 2:064x}",
            "exact_match": float(is_right),
        }
        for name, answers in filters.items()
        for number, is_right in enumerate(answers)
    ]
    path = folder / "results" / model / "samples_gsm8k_2026-01-31T10-11-12.123456.jsonl"
    path.parent.mkdir(parents=True)
    path.write_text("".join(f"{json.dumps(line)}\n" for line in reversed(lines)), encoding="utf-8")
    return path


def test_sample_logs_of_lm_eval_are_judged(tmp_path: Path) -> None:
    paths = [lm_eval(tmp_path, model, {"none": right(model)}) for model in ("small-1b", "large-7b")]
    for given in (paths, [tmp_path / "results"]):
        found = judge(*given, baseline="small-1b")
        (finding,) = found.findings
        assert (finding.claim.challenger, finding.dataset, finding.verdict) == ("large-7b", "gsm8k", "supported")
        assert finding.difference == pytest.approx(difference(), abs=1e-9)


def test_one_of_several_filters_is_chosen_by_name(tmp_path: Path) -> None:
    strict = [False] * DOCUMENTS
    paths = [
        lm_eval(tmp_path, model, {"strict-match": strict, "flexible-extract": right(model)})
        for model in ("small-1b", "large-7b")
    ]
    found = judge(*paths, baseline="small-1b", columns={"value": "exact_match,flexible-extract"})
    assert found.findings[0].difference == pytest.approx(difference(), abs=1e-9)
    assert (
        judge(*paths, baseline="small-1b", columns={"value": "exact_match,strict-match"}).findings[0].difference[0] == 0
    )


def inspect_log(model: str, epochs: int) -> dict[str, Any]:
    """A log of inspect_ai as one document: the fields that it always writes, and one scorer."""
    samples = [
        {
            "id": f"sum-{number}",
            "epoch": epoch,
            "input": f"What is {number} + 1?",
            "target": str(number + 1),
            "messages": [{"role": "user", "content": f"What is {number} + 1?"}],
            "output": {"model": model, "choices": [], "completion": ""},
            "scores": {"match": {"value": "C" if is_right else "I", "answer": str(number), "explanation": "…"}},
            "metadata": {},
            "model_usage": {},
        }
        for epoch in range(1, epochs + 1)
        for number, is_right in enumerate(right(model) if epoch == 1 else np.roll(right(model), epoch).tolist())
    ]
    return {
        "version": 2,
        "status": "success",
        "eval": {"task": "sums", "task_id": "x", "model": f"local/{model}", "created": "2026-01-31T10:11:12+00:00"},
        "plan": {"name": "plan", "steps": []},
        "results": {"total_samples": len(samples), "completed_samples": len(samples), "scores": []},
        "stats": {"started_at": "", "completed_at": "", "model_usage": {}},
        "samples": samples,
    }


def as_zip(path: Path, log: dict[str, Any], *, is_old: bool = False) -> Path:
    """An `.eval` file: the document in parts; older versions have `start.json` and `results.json` for a header."""
    head = {key: value for key, value in log.items() if key != "samples"}
    start = {key: head[key] for key in ("version", "eval", "plan")}
    parts = {"header.json": head, "_journal/start.json": start}
    if is_old:
        parts = {"start.json": start, "results.json": {key: head[key] for key in ("status", "results", "stats")}}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for name, part in parts.items():
            file.writestr(name, json.dumps(part))
        for sample in log["samples"]:
            file.writestr(f"samples/{sample['id']}_epoch_{sample['epoch']}.json", json.dumps(sample))
        file.writestr("summaries.json", json.dumps([]))
    return path


@pytest.mark.parametrize("kind", ["json", "eval", "old eval"])
def test_logs_of_inspect_ai_are_judged(tmp_path: Path, kind: str) -> None:
    paths = list[Path]()
    for model in ("small-1b", "large-7b"):
        log = inspect_log(model, 1)
        if kind == "json":
            paths.append(tmp_path / f"{model}.json")
            paths[-1].write_text(json.dumps(log), encoding="utf-8")
        else:
            paths.append(as_zip(tmp_path / f"{model}.eval", log, is_old=kind == "old eval"))
    (finding,) = judge(*paths).findings
    assert (finding.claim.baseline, finding.claim.challenger) == ("local/small-1b", "local/large-7b")
    assert (finding.dataset, finding.verdict) == ("sums", "supported")
    assert finding.difference == pytest.approx(difference(), abs=1e-9)


def test_epochs_of_inspect_ai_are_runs(tmp_path: Path) -> None:
    paths = [as_zip(tmp_path / f"{model}.eval", inspect_log(model, 3)) for model in ("small-1b", "large-7b")]
    (finding,) = judge(*paths).findings
    assert (finding.unit, finding.difference.n) == ("seeds", 3)


def test_grades_are_the_numbers_of_inspect_ai(tmp_path: Path) -> None:
    log = inspect_log("small-1b", 1)
    grades = ["C", "P", "I", "N", 0.25, True]
    log["samples"] = [
        {**log["samples"][0], "id": each, "scores": {"m": {"value": grade}}} for each, grade in enumerate(grades)
    ]
    (tmp_path / "log.json").write_text(json.dumps(log), encoding="utf-8")
    (runs,) = judge(tmp_path / "log.json").runs.values()
    order = np.argsort(runs[0].row)
    assert runs[0].values["value"][order].tolist() == [1, 0.5, 0, 0, 0.25, 1]
