"""MinIO's Python client against a gateway; what it reads is compared byte by byte.

Run with the AWS_* variables of credentials.env.
"""

import hashlib
import io
import os
import urllib.request
from datetime import datetime, timedelta, timezone

from minio import Minio
from minio.commonconfig import COMPLIANCE, ENABLED, GOVERNANCE, ComposeSource, CopySource, Tags
from minio.deleteobjects import DeleteObject
from minio.error import S3Error
from minio.objectlockconfig import DAYS, ObjectLockConfig
from minio.retention import Retention
from minio.versioningconfig import VersioningConfig

BUCKET, LOCKED = "minio-python", "minio-locked"
MIB = 1024 * 1024
client = Minio(os.environ["AWS_ENDPOINT_URL"].removeprefix("http://"), access_key=os.environ["AWS_ACCESS_KEY_ID"],
               secret_key=os.environ["AWS_SECRET_ACCESS_KEY"], region=os.environ["AWS_REGION"], secure=False)


def body(seed, size):
    return hashlib.shake_128(str(seed).encode()).digest(size)


def read(key, **arguments):
    answer = client.get_object(BUCKET, key, **arguments)
    try:
        return answer.read()
    finally:
        answer.close()
        answer.release_conn()


def refused(code, call, *arguments, **named):
    try:
        call(*arguments, **named)
    except S3Error as error:
        assert error.code == code, f"expected {code}, got {error.code}"
    else:
        raise AssertionError(f"expected {code}, but it succeeded")


client.make_bucket(BUCKET)
assert client.bucket_exists(BUCKET) and not client.bucket_exists("minio-absent")
for size in [0, 1, 8193, MIB + 1]:
    client.put_object(BUCKET, f"size/{size}", io.BytesIO(body(size, size)), size, metadata={"size": str(size)})
    assert read(f"size/{size}") == body(size, size), size
    assert client.stat_object(BUCKET, f"size/{size}").metadata["x-amz-meta-size"] == str(size)

# Of unknown length, so in parts.
large = body("large", 17 * MIB + 3)
client.put_object(BUCKET, "large ü", io.BytesIO(large), -1, part_size=5 * MIB)
assert read("large ü") == large
assert read("large ü", offset=5 * MIB - 2, length=9) == large[5 * MIB - 2:5 * MIB + 7]
client.copy_object(BUCKET, "copy", CopySource(BUCKET, "large ü", offset=MIB, length=7 * MIB))
assert read("copy") == large[MIB:8 * MIB]
client.compose_object(BUCKET, "composed", [ComposeSource(BUCKET, "large ü"), ComposeSource(BUCKET, "copy")])
assert read("composed") == large + large[MIB:8 * MIB]

tags = Tags.new_object_tags()
tags["kind"] = "a b"
client.set_object_tags(BUCKET, "copy", tags)
assert dict(client.get_object_tags(BUCKET, "copy")) == {"kind": "a b"}

with urllib.request.urlopen(client.presigned_get_object(BUCKET, "copy", expires=timedelta(minutes=1))) as answer:
    assert answer.read() == large[MIB:8 * MIB]

listed = {entry.object_name: entry.size for entry in client.list_objects(BUCKET, recursive=True)}
assert listed == {"size/0": 0, "size/1": 1, "size/8193": 8193, f"size/{MIB + 1}": MIB + 1, "large ü": len(large),
                  "copy": 7 * MIB, "composed": len(large) + 7 * MIB}, listed
assert [entry.object_name for entry in client.list_objects(BUCKET)] == ["composed", "copy", "large ü", "size/"]

client.set_bucket_versioning(BUCKET, VersioningConfig(ENABLED))
first = client.put_object(BUCKET, "v", io.BytesIO(b"first"), 5).version_id
client.put_object(BUCKET, "v", io.BytesIO(b"second"), 6)
client.remove_object(BUCKET, "v")
refused("NoSuchKey", client.stat_object, BUCKET, "v")
assert read("v", version_id=first) == b"first"
client.copy_object(BUCKET, "v", CopySource(BUCKET, "v", version_id=first))
assert read("v") == b"first"
refused("BucketNotEmpty", client.remove_bucket, BUCKET)

everything = [DeleteObject(entry.object_name, entry.version_id)
              for entry in client.list_objects(BUCKET, recursive=True, include_version=True)]
assert list(client.remove_objects(BUCKET, everything)) == []
client.remove_bucket(BUCKET)

client.make_bucket(LOCKED, object_lock=True)
held = client.put_object(LOCKED, "k", io.BytesIO(b"held"), 4).version_id
until = datetime.now(timezone.utc).replace(microsecond=0) + timedelta(days=1)
client.set_object_retention(LOCKED, "k", Retention(COMPLIANCE, until))
kept = client.get_object_retention(LOCKED, "k")
assert (kept.mode, kept.retain_until_date) == (COMPLIANCE, until), kept
client.enable_object_legal_hold(LOCKED, "k")
assert client.is_object_legal_hold_enabled(LOCKED, "k")
client.disable_object_legal_hold(LOCKED, "k")
refused("AccessDenied", client.remove_object, LOCKED, "k", version_id=held)
errors = list(client.remove_objects(LOCKED, [DeleteObject("k", held)], bypass_governance_mode=True))
assert [error.code for error in errors] == ["AccessDenied"], "compliance is not bypassed"
client.set_object_lock_config(LOCKED, ObjectLockConfig(GOVERNANCE, 1, DAYS))
default = client.get_object_lock_config(LOCKED)
assert (default.mode, default.duration, default.duration_unit) == (GOVERNANCE, 1, DAYS), default
print("ok")
