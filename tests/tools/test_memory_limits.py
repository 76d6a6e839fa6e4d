import pytest

from tools.memory_limits import free_memory


def limited(folder, limit, used, cached, *, version=2):
    """Memory files of a control group."""
    names = ("max", "current") if version == 2 else ("limit_in_bytes", "usage_in_bytes")
    folder.mkdir(parents=True, exist_ok=True)
    for name, value in zip(names, (limit, used), strict=True):
        (folder / f"memory.{name}").write_text(f"{value}\n")
    (folder / "memory.stat").write_text(f"anon 1\n{'' if version == 2 else 'total_'}inactive_file {cached}\n")


@pytest.mark.parametrize(
    ("own", "group", "version"),
    [("0::/job/step/task", "", 2), ("0::/job/step/task", "job/step/task", 2), ("0::/job/step/task", "job", 2),
     ("5:cpuset:/other\n4:memory:/job/step", "memory/job", 1)],
)  # fmt: skip
def test_the_free_memory_of_a_job_is_below_the_limits_of_its_control_groups(monkeypatch, tmp_path, own, group, version):
    monkeypatch.setattr("tools.control_groups.CGROUPS", tmp_path)
    monkeypatch.setattr("tools.control_groups.OWN_GROUPS", tmp_path / "own")
    (tmp_path / "own").write_text(own)
    limited(tmp_path / group, 5_000_000, 3_000_000, 1_000_000, version=version)
    assert free_memory() == 3_000_000  # the memory of cached files can be freed
    limited(tmp_path / group, "max", 3_000_000, 0)
    limited(tmp_path / "another", 1_000_000, 0, 0)
    (tmp_path / group / "memory.limit_in_bytes").unlink(missing_ok=True)
    assert free_memory() > 3_000_000
