"""The virtual cluster itself: it keeps away from real ones, and has what it declares."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from tests.slurm import cluster as virtual
from tests.slurm.cluster import ClusterError, VirtualCluster


def test_a_configuration_of_somebody_else_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    theirs = tmp_path / "slurm.conf"
    theirs.write_text("ClusterName=production\n")
    hosts = tmp_path / "hosts"
    hosts.write_text(f"127.0.0.1 c1 {virtual.MARKER}\n")
    monkeypatch.setattr(virtual, "CONFIGURATION", theirs)
    monkeypatch.setattr(virtual, "HOSTS", hosts)
    mine = VirtualCluster(tmp_path / "state")
    with pytest.raises(ClusterError, match="is not this project's"):
        mine.up()
    mine.down()
    assert theirs.read_text() == "ClusterName=production\n"
    assert hosts.read_text(), "names that another virtual cluster uses stay"
    assert sorted(tmp_path.iterdir()) == [hosts, theirs]


def test_nodes_declare_production_size_and_count_their_gpus(cluster: VirtualCluster) -> None:
    listing = subprocess.run(
        ["sinfo", "-h", "-N", "-o", "%N %P %c %m %G"], capture_output=True, text=True, check=True
    ).stdout
    size = f"{virtual.CORES} {virtual.MEMORY_MB}"
    assert listing.splitlines() == [
        f"c1 normal* {size} (null)",
        f"c2 normal* {size} (null)",
        f"g1 accelerated {size} gpu:a100:8",
        f"g2 accelerated {size} gpu:a100:8",
    ]
