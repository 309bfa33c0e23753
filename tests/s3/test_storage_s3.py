"""Storage on a real S3 server. If these fail, what works on a disk does not work in a store, or breaks when it
hiccups."""

import io
import os
import tempfile
import zipfile

import pytest

from hsta import s3_fast, storage
from hsta.errors import InputError
from hsta.vision import archives

FAULTS = {"p503": 0.1, "p500": 0.05, "preset": 0.05, "preset_after": 0.05, "ptrunc": 0.1}


@pytest.fixture(params=[{}, FAULTS], ids=["calm", "faulty"])
def bucket(store, proxy, request):
    proxy.fail(seed=1, match="^/clips/storage", **request.param)
    yield f"{store}/storage/{request.param_index}"
    proxy.fail()


def test_what_is_written_is_read(bucket):
    contents = {f"{bucket}/few/{number}.bin": bytes([number]) * 1000 for number in range(30)}
    for url, data in contents.items():
        storage.write_bytes(url, data)
    entries = storage.listing(f"{bucket}/few")
    assert sorted(entry.path for entry in entries) == sorted(url.removeprefix("s3://") for url in contents)
    read = storage.read_many(bucket, entries)
    assert {f"s3://{entry.path}": data for entry, data in zip(entries, read)} == contents
    assert storage.find(bucket) == sorted(f"few/{number}.bin" for number in range(30))
    one = f"{bucket}/few/3.bin"
    before = storage.entry(one)
    storage.write_bytes(one, b"new")
    assert storage.entry(one).version != before.version and storage.read_bytes(one) == b"new"
    storage.delete(one)
    storage.delete(one)
    assert not storage.exists(one)
    with pytest.raises(FileNotFoundError):
        storage.read_bytes(one)
    with pytest.raises(FileNotFoundError):
        storage.listing(f"{bucket}/nowhere")


def test_large_files_travel_through_the_disk(bucket):
    piece = bytes(range(256)) * 4096
    with tempfile.TemporaryFile() as file:
        for _ in range(60):
            file.write(piece)
        storage.upload(file, f"{bucket}/large")
    with storage.local_copy(f"{bucket}/large") as copy, open(storage.local_name(copy), "rb") as again:
        assert again.read() == piece * 60
    import hashlib

    assert storage.sha256(f"{bucket}/large") == hashlib.sha256(piece * 60).hexdigest()


def test_small_files_come_by_one_request_each_whatever_their_names(store, proxy):
    proxy.fail(match="^/clips/names")
    names = ["plain.jpg", "with space.jpg", "plus+and%.jpg", "Straße=ü.jpg", "a~b(c)'d.jpg"]
    for name in names:
        storage.write_bytes(f"{store}/names/{name}", name.encode() * 100)
    entries = storage.listing(f"{store}/names")
    before = proxy.counters["requests"]
    found = s3_fast.read_many(storage.environment, [(entry.path, entry.size) for entry in entries])
    assert proxy.counters["requests"] - before == len(names)
    assert found == {f"clips/names/{name}": name.encode() * 100 for name in names}
    assert s3_fast.read_many(storage.environment, [("clips/names/none.jpg", 7)]) == {}  # left to s3fs, and its patience
    assert s3_fast.read_many(storage.environment, [("clips/names/plain.jpg", 7)]) == {}  # not the file that was listed


@pytest.mark.parametrize("name", ["plain.bin", "with space+and%.bin", "Straße=ü~b(c)'d.bin"])
def test_a_file_is_stored_by_one_request_whatever_its_name(store, proxy, name):
    proxy.fail(match="^/clips/stored")
    with tempfile.TemporaryFile() as file:
        assert not s3_fast.write(storage.environment, "clips/stored/empty", file)  # left to s3fs
        file.write(os.urandom(1 << 20))
        file.flush()
        before = proxy.counters.get("requests", 0)
        assert s3_fast.write(storage.environment, f"clips/stored/{name}", file)
        assert proxy.counters["requests"] - before == 1
        file.seek(0)
        assert storage.read_bytes(f"{store}/stored/{name}") == file.read()
        assert not s3_fast.write(storage.environment, "no-such-bucket/stored", file)
        proxy.fail(match="^/clips/stored", p503=1.0)
        assert not s3_fast.write(storage.environment, f"clips/stored/{name}", file)
        proxy.fail()


@pytest.mark.parametrize("whole", [archives.WHOLE_BYTES, 0], ids=["whole", "in pieces"])
def test_a_zip_in_the_store_is_read(bucket, monkeypatch, whole):
    monkeypatch.setattr(archives, "WHOLE_BYTES", whole)
    files = {f"s01/img{number}.jpg": os.urandom(200_000) for number in range(20)}
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    storage.write_bytes(f"{bucket}/all.zip", packed.getvalue())
    archive = archives.Archive(f"{bucket}/all.zip")
    assert sorted(archive.names("s01")) == sorted(files)
    assert archive.read_many(list(files)) == list(files.values())
    archive.close()
    with pytest.raises(FileNotFoundError):
        archives.Archive(f"{bucket}/none.zip")


def test_a_bucket_that_is_not_there_and_keys_that_are_wrong_are_said(store, proxy):
    proxy.fail()
    with pytest.raises(InputError, match="choose a folder or bucket that exists"):
        storage.ensure_writable("s3://no-such-bucket/x")
