"""What `make bench` records: statistics without the raw rounds, and of the machine only what explains them, its load too."""

import os
from typing import Any

MACHINE = ("processor", "machine", "python_version", "system")


def pytest_benchmark_update_json(config: Any, benchmarks: Any, output_json: dict[str, Any]) -> None:
    """Strip the record."""
    cpu = output_json["machine_info"].get("cpu", {})
    machine = {name: output_json["machine_info"].get(name) for name in MACHINE}
    output_json["machine_info"] = {**machine, "cpu": cpu.get("brand_raw"), "cores": cpu.get("count"), "load_average": os.getloadavg()[0]}
    output_json.pop("commit_info", None)
    for each in output_json["benchmarks"]:
        each["stats"].pop("data", None)
        each.pop("options", None)
