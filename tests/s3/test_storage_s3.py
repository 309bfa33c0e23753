"""Storage on a real S3 server. If these fail, what works on a disk does not work in a store, or breaks when it
hiccups."""

import tempfile

import pytest

from hsta import storage
from hsta.errors import InputError

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


def test_a_bucket_that_is_not_there_and_keys_that_are_wrong_are_said(store, proxy):
    proxy.fail()
    with pytest.raises(InputError, match="choose a folder or bucket that exists"):
        storage.ensure_writable("s3://no-such-bucket/x")
