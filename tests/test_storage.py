"""Storage. If these fail, files appear in part, an outage hangs a run, or a store's hiccup ends one."""

import os
import resource
import signal
import subprocess
import sys
import tempfile

import pytest

from hsta import storage
from hsta.errors import InputError


def test_a_file_appears_whole_and_leaves_nothing_beside_it(tmp_path):
    url = f"{tmp_path}/deep/folder/file.bin"
    storage.write_bytes(url, b"first")
    storage.write_bytes(url, b"second")
    with tempfile.TemporaryFile() as file:
        file.write(b"third" * 1000)
        storage.upload(file, f"{tmp_path}/deep/folder/other.bin")
    assert storage.read_bytes(url) == b"second"
    assert storage.read_bytes(f"{tmp_path}/deep/folder/other.bin") == b"third" * 1000
    assert sorted(os.listdir(tmp_path / "deep/folder")) == ["file.bin", "other.bin"]


def test_a_write_that_fails_leaves_the_old_content_and_no_temporary_file(tmp_path):
    storage.write_bytes(f"{tmp_path}/file", b"old")

    with tempfile.TemporaryFile() as file:
        file.write(b"new" * 100_000)
        limit = resource.getrlimit(resource.RLIMIT_FSIZE)
        handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        file.flush()
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limit[1]))  # as a full disk would
        try:
            with pytest.raises(OSError):
                storage.upload(file, f"{tmp_path}/file")
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limit)
            signal.signal(signal.SIGXFSZ, handler)
    assert os.listdir(tmp_path) == ["file"] and storage.read_bytes(f"{tmp_path}/file") == b"old"


@pytest.mark.parametrize("kind", ["linked", "through the page cache", "copied"])
def test_a_scratch_file_leaves_nothing_until_it_is_put_in_its_place(tmp_path, monkeypatch, kind):
    nameless = kind != "copied"
    if not nameless:
        monkeypatch.setattr(os, "O_TMPFILE", os.O_CREAT | os.O_EXCL)  # fails on a folder, as on NFS
    if kind == "through the page cache":
        monkeypatch.delattr(os, "O_DIRECT")
    url = f"{tmp_path}/deep/file"
    storage.scratch(url).close()
    with storage.scratch(url) as file:
        assert os.listdir(tmp_path / "deep") == []
        file.write(b"new")
        storage.write_bytes(url, b"old")
        storage.upload(file, url)
        assert (os.fstat(file.fileno()).st_nlink == 1) == nameless
    assert os.listdir(tmp_path / "deep") == ["file"] and storage.read_bytes(url) == b"new"
    (tmp_path / "usual").touch()
    assert os.stat(url).st_mode == os.stat(tmp_path / "usual").st_mode


@pytest.mark.parametrize("sizes", [[], [1], [4096], [1 << 20], [3_000_001, 5, 1 << 20, 0, 77, 2 << 20]], ids=len)
@pytest.mark.parametrize("flushed", [False, True], ids=["", "flushed each time"])
def test_a_scratch_file_holds_what_was_written_in_pieces_of_any_size(tmp_path, sizes, flushed):
    pieces = [os.urandom(size) for size in sizes]
    with storage.scratch(f"{tmp_path}/file") as file:
        for piece in pieces:
            file.write(piece)
            if flushed:
                file.flush()
        assert file.tell() == sum(sizes)
        storage.upload(file, f"{tmp_path}/file")
    assert storage.read_bytes(f"{tmp_path}/file") == b"".join(pieces)


def test_a_full_disk_is_an_error_not_a_short_file(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "pwrite", lambda descriptor, data, at: len(data) - 512)
    with storage.scratch(f"{tmp_path}/file") as file, pytest.raises(OSError, match="No space left"):
        file.write(b"x" * (2 << 20))


def test_only_files_of_processes_that_are_gone_are_swept_away(tmp_path):
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    host, unique = storage._host(), "0" * 32
    for name in (
        f"a.{host}.{gone.pid}.{unique}.tmp",
        f"b.{host}.{os.getpid()}.{unique}.tmp",
        f"c.other.{gone.pid}.{unique}.tmp",
        "d.tmp",
    ):
        (tmp_path / name).write_text("")
    storage.sweep_temporary(str(tmp_path))
    assert sorted(name[0] for name in os.listdir(tmp_path)) == ["b", "c", "d"]


def test_listing_names_files_with_their_versions(tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "a.jpg").write_bytes(b"12345")
    (found,) = storage.listing(str(tmp_path))
    assert (found.path, found.size) == (str(tmp_path / "a.jpg"), 5)
    os.utime(tmp_path / "a.jpg", (1, 1))
    assert storage.listing(str(tmp_path))[0].version != found.version
    with pytest.raises(NotADirectoryError):
        storage.listing(str(tmp_path / "a.jpg"))
    with pytest.raises(FileNotFoundError):
        storage.listing(str(tmp_path / "none"))


def test_a_local_copy_of_a_local_file_is_the_file(tmp_path):
    (tmp_path / "a").write_bytes(b"x")
    with storage.local_copy(str(tmp_path / "a")) as file, open(storage.local_name(file), "rb") as again:
        assert again.read() == b"x"
    with pytest.raises(FileNotFoundError):
        storage.local_copy(str(tmp_path / "none"))


def test_the_endpoint_of_a_profile_reaches_clients_that_do_not_read_it(tmp_path, monkeypatch):
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    (tmp_path / "config").write_text("[profile lab]\nendpoint_url = http://store.lab:9000\n")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_PROFILE", "lab")
    found = storage.environment()
    assert found["AWS_ENDPOINT_URL_S3"] == "http://store.lab:9000"
    assert found["AWS_REQUEST_CHECKSUM_CALCULATION"] == "when_required"
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://mine:1")
    assert storage.environment()["AWS_ENDPOINT_URL_S3"] == "http://mine:1"


def test_a_failure_that_may_pass_is_tried_again_and_one_that_cannot_is_not(monkeypatch):
    monkeypatch.setattr(storage, "PATIENCE", 5.0)
    attempts = []

    def flaky(_):
        attempts.append(1)
        if len(attempts) < 3:
            raise ConnectionResetError("reset")
        return "there"

    assert storage.patiently("s3://bucket/x", flaky) == "there" and len(attempts) == 3

    def forbidden(_):
        attempts.append(1)
        raise PermissionError("no")

    attempts.clear()
    with pytest.raises(PermissionError):
        storage.patiently("s3://bucket/x", forbidden)
    assert len(attempts) == 1


def test_a_store_that_stays_away_is_named_with_the_cure(monkeypatch):
    monkeypatch.setattr(storage, "PATIENCE", 1.0)
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "x")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "y")
    with pytest.raises(storage.Unreachable) as caught:
        storage.ensure_writable("s3://bucket/x")
    assert "http://127.0.0.1:9" in str(caught.value) and "cure: check the endpoint" in str(caught.value)


def test_an_unknown_kind_of_storage_is_refused():
    with pytest.raises(InputError, match="nonsense"):
        storage.read_bytes("nonsense://x")
