"""boto3 against a gateway: every core operation, each answer compared byte by byte.

Run with the AWS_* variables of credentials.env. The first failure ends it with a traceback.
"""

import concurrent.futures
import hashlib
import io
import os
import socket

import boto3
from boto3.s3.transfer import TransferConfig
from botocore.config import Config

from boto3_session import KIB, MIB, body, expect, read, run, s3


def buckets():
    s3.create_bucket(Bucket="boto-one")
    s3.create_bucket(Bucket="boto-two")
    names = [bucket["Name"] for bucket in s3.list_buckets()["Buckets"]]
    assert {"boto-one", "boto-two"} <= set(names), names
    assert s3.head_bucket(Bucket="boto-one")["ResponseMetadata"]["HTTPHeaders"]["x-amz-bucket-region"]
    s3.get_bucket_location(Bucket="boto-one")
    expect("NoSuchBucket", 404, s3.list_objects_v2, Bucket="boto-absent")
    expect("404", 404, s3.head_bucket, Bucket="boto-absent")
    s3.put_object(Bucket="boto-two", Key="x", Body=b"x")
    expect("BucketNotEmpty", 409, s3.delete_bucket, Bucket="boto-two")
    s3.delete_object(Bucket="boto-two", Key="x")
    s3.delete_bucket(Bucket="boto-two")
    expect("NoSuchBucket", 404, s3.delete_bucket, Bucket="boto-two")


def sizes():
    for size in [0, 1, 8 * KIB, 8 * KIB + 1, 65_535, 256 * KIB, 256 * KIB + 1, 4 * MIB, 9 * MIB + 3]:
        data = body(size, size)
        answer = s3.put_object(Bucket="boto-one", Key=f"size/{size}", Body=data)
        assert answer["ETag"] == f'"{hashlib.md5(data).hexdigest()}"', size
        assert read("boto-one", f"size/{size}") == data, size
        head = s3.head_object(Bucket="boto-one", Key=f"size/{size}")
        assert head["ContentLength"] == size and head["ETag"] == answer["ETag"], size


def keys():
    names = ["a", "a/b", "a/", "a//b", "a=b", "a%2Fb", "100% sure?", "ünïcode ☃ 𝄞", "dots/../../etc", "+ plus",
             "quote'\"<&>", "..", "x" * 1024, "tab\tkey"]
    for name in names:
        s3.put_object(Bucket="boto-one", Key=f"{name}", Body=name.encode())
    for name in names:
        assert read("boto-one", name) == name.encode(), name
    listed = [entry["Key"] for page in s3.get_paginator("list_objects_v2").paginate(Bucket="boto-one")
              for entry in page["Contents"]]
    assert set(names) <= set(listed), set(names) - set(listed)
    assert listed == sorted(listed, key=lambda key: key.encode()), "keys in byte order"
    expect("KeyTooLongError", 400, s3.put_object, Bucket="boto-one", Key="x" * 1025, Body=b"")
    for name in names:
        s3.delete_object(Bucket="boto-one", Key=name)


def ranges_and_conditions():
    data = body("ranges", 3 * MIB + 11)
    etag = s3.put_object(Bucket="boto-one", Key="ranges", Body=data)["ETag"]
    for first, last in [(0, 0), (0, 9), (MIB - 1, MIB + 1), (len(data) - 1, len(data) - 1), (100, len(data) + 5)]:
        answer = s3.get_object(Bucket="boto-one", Key="ranges", Range=f"bytes={first}-{last}")
        assert answer["Body"].read() == data[first:last + 1], (first, last)
        assert answer["ResponseMetadata"]["HTTPStatusCode"] == 206
        assert answer["ContentRange"] == f"bytes {first}-{min(last, len(data) - 1)}/{len(data)}"
    assert read("boto-one", "ranges", Range="bytes=-7") == data[-7:]
    assert read("boto-one", "ranges", Range=f"bytes={MIB}-") == data[MIB:]
    expect("InvalidRange", 416, s3.get_object, Bucket="boto-one", Key="ranges", Range=f"bytes={len(data)}-")
    expect("304", 304, s3.get_object, Bucket="boto-one", Key="ranges", IfNoneMatch=etag)
    expect("PreconditionFailed", 412, s3.get_object, Bucket="boto-one", Key="ranges", IfMatch='"0"')
    expect("PreconditionFailed", 412, s3.put_object, Bucket="boto-one", Key="ranges", Body=b"", IfNoneMatch="*")
    expect("PreconditionFailed", 412, s3.put_object, Bucket="boto-one", Key="ranges", Body=b"", IfMatch='"0"')
    expect("NoSuchKey", 404, s3.put_object, Bucket="boto-one", Key="absent", Body=b"", IfMatch='"0"')
    assert read("boto-one", "ranges") == data
    expect("NoSuchKey", 404, s3.get_object, Bucket="boto-one", Key="absent")


def metadata():
    s3.put_object(Bucket="boto-one", Key="meta", Body=b"m", ContentType="text/x-test", CacheControl="no-cache",
                  ContentDisposition='attachment; filename="f"', ContentEncoding="gzip", ContentLanguage="de",
                  Metadata={"colour": "blue", "empty": ""})
    head = s3.head_object(Bucket="boto-one", Key="meta")
    assert head["ContentType"] == "text/x-test" and head["CacheControl"] == "no-cache"
    assert head["ContentEncoding"] == "gzip" and head["ContentLanguage"] == "de"
    assert head["ContentDisposition"] == 'attachment; filename="f"'
    assert head["Metadata"] == {"colour": "blue", "empty": ""}, head["Metadata"]
    answer = s3.get_object(Bucket="boto-one", Key="meta", ResponseContentType="text/plain")
    assert answer["ContentType"] == "text/plain"


def checksums():
    data = body("checksums", 300 * KIB)
    for algorithm in ["CRC32", "CRC32C", "SHA1", "SHA256", "CRC64NVME"]:
        put = s3.put_object(Bucket="boto-one", Key=f"sum/{algorithm}", Body=data, ChecksumAlgorithm=algorithm)
        name = f"Checksum{algorithm}"
        head = s3.head_object(Bucket="boto-one", Key=f"sum/{algorithm}", ChecksumMode="ENABLED")
        assert put[name] == head[name], algorithm
        assert read("boto-one", f"sum/{algorithm}", ChecksumMode="ENABLED") == data
    expect("BadDigest", 400, s3.put_object, Bucket="boto-one", Key="sum/bad", Body=b"data", ChecksumCRC32="AAAAAA==")
    expect("BadDigest", 400, s3.put_object, Bucket="boto-one", Key="sum/bad", Body=b"data",
           ContentMD5="1B2M2Y8AsgTpgAmY7PhCfg==")
    expect("NoSuchKey", 404, s3.get_object, Bucket="boto-one", Key="sum/bad")


def copies():
    data = body("copy", 2 * MIB + 1)
    s3.put_object(Bucket="boto-one", Key="copy/from ünï?", Body=data, Metadata={"a": "1"}, ContentType="text/a")
    source = {"Bucket": "boto-one", "Key": "copy/from ünï?"}
    s3.copy_object(Bucket="boto-one", Key="copy/to", CopySource=source)
    assert read("boto-one", "copy/to") == data
    assert s3.head_object(Bucket="boto-one", Key="copy/to")["Metadata"] == {"a": "1"}
    s3.copy_object(Bucket="boto-one", Key="copy/to", CopySource={"Bucket": "boto-one", "Key": "copy/to"},
                   MetadataDirective="REPLACE", Metadata={"b": "2"}, ContentType="text/b")
    head = s3.head_object(Bucket="boto-one", Key="copy/to")
    assert head["Metadata"] == {"b": "2"} and head["ContentType"] == "text/b"
    expect("InvalidRequest", 400, s3.copy_object, Bucket="boto-one", Key="copy/to",
           CopySource={"Bucket": "boto-one", "Key": "copy/to"})
    s3.delete_object(Bucket="boto-one", Key="copy/from ünï?")
    assert read("boto-one", "copy/to") == data, "a copy outlives its source"
    expect("NoSuchKey", 404, s3.copy_object, Bucket="boto-one", Key="x", CopySource=source)
    expect("PreconditionFailed", 412, s3.copy_object, Bucket="boto-one", Key="x",
           CopySource={"Bucket": "boto-one", "Key": "copy/to"}, CopySourceIfMatch='"0"')


def listing():
    names = [f"list/{number % 5}/{number:04}" for number in range(1203)]
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda name: s3.put_object(Bucket="boto-one", Key=name, Body=b""), names))
    page = s3.list_objects_v2(Bucket="boto-one", Prefix="list/", MaxKeys=1000)
    assert page["KeyCount"] == 1000 and page["IsTruncated"]
    rest = s3.list_objects_v2(Bucket="boto-one", Prefix="list/", ContinuationToken=page["NextContinuationToken"])
    found = [entry["Key"] for entry in page["Contents"] + rest["Contents"]]
    assert found == sorted(names)
    for call, field in [(s3.list_objects_v2, "CommonPrefixes"), (s3.list_objects, "CommonPrefixes")]:
        page = call(Bucket="boto-one", Prefix="list/", Delimiter="/")
        assert [entry["Prefix"] for entry in page[field]] == [f"list/{number}/" for number in range(5)]
    seen, marker = [], ""
    while True:
        page = s3.list_objects(Bucket="boto-one", Prefix="list/", Delimiter="/", Marker=marker, MaxKeys=2)
        seen += [entry["Prefix"] for entry in page["CommonPrefixes"]]
        if not page["IsTruncated"]:
            break
        marker = page["NextMarker"]
    assert seen == [f"list/{number}/" for number in range(5)], seen
    after = s3.list_objects_v2(Bucket="boto-one", Prefix="list/", StartAfter="list/3/9999")["Contents"]
    assert all(entry["Key"].startswith("list/4/") for entry in after)
    for start in range(0, len(names), 1000):
        answer = s3.delete_objects(Bucket="boto-one",
                                   Delete={"Objects": [{"Key": name} for name in names[start:start + 1000]]})
        assert len(answer["Deleted"]) == len(names[start:start + 1000]) and "Errors" not in answer
    assert s3.list_objects_v2(Bucket="boto-one", Prefix="list/")["KeyCount"] == 0


def multipart():
    data = body("multipart", 23 * MIB + 5)
    s3.upload_fileobj(io.BytesIO(data), "boto-one", "multi/transfer",
                      Config=TransferConfig(multipart_threshold=8 * MIB, multipart_chunksize=8 * MIB))
    assert read("boto-one", "multi/transfer") == data
    head = s3.head_object(Bucket="boto-one", Key="multi/transfer")
    parts = [data[start:start + 8 * MIB] for start in range(0, len(data), 8 * MIB)]
    digest = hashlib.md5(b"".join(hashlib.md5(part).digest() for part in parts)).hexdigest()
    assert head["ETag"] == f'"{digest}-{len(parts)}"', head["ETag"]

    upload = s3.create_multipart_upload(Bucket="boto-one", Key="multi/manual", Metadata={"m": "1"})["UploadId"]
    where = {"Bucket": "boto-one", "Key": "multi/manual", "UploadId": upload}
    uploads = s3.list_multipart_uploads(Bucket="boto-one")["Uploads"]
    assert [entry["UploadId"] for entry in uploads] == [upload]
    first = s3.upload_part(**where, PartNumber=1, Body=data[:6 * MIB])["ETag"]
    s3.upload_part(**where, PartNumber=2, Body=b"replaced")
    second = s3.upload_part(**where, PartNumber=2, Body=data[6 * MIB:11 * MIB])["ETag"]
    third = s3.upload_part_copy(**where, PartNumber=3, CopySource={"Bucket": "boto-one", "Key": "multi/transfer"},
                                CopySourceRange=f"bytes={11 * MIB}-{len(data) - 1}")["CopyPartResult"]["ETag"]
    listed = s3.list_parts(**where)["Parts"]
    assert [part["ETag"] for part in listed] == [first, second, third]
    expect("NoSuchKey", 404, s3.get_object, Bucket="boto-one", Key="multi/manual")
    tags = [{"PartNumber": number + 1, "ETag": etag} for number, etag in enumerate([first, second, third])]
    expect("InvalidPart", 400, s3.complete_multipart_upload, **where,
           MultipartUpload={"Parts": [{"PartNumber": 1, "ETag": '"0"'}]})
    expect("InvalidPartOrder", 400, s3.complete_multipart_upload, **where,
           MultipartUpload={"Parts": [tags[1], tags[0]]})
    done = s3.complete_multipart_upload(**where, MultipartUpload={"Parts": tags})
    assert done["ETag"].endswith('-3"')
    assert read("boto-one", "multi/manual") == data
    assert read("boto-one", "multi/manual", Range=f"bytes={6 * MIB - 3}-{6 * MIB + 3}") == data[6 * MIB - 3:6 * MIB + 4]
    assert s3.head_object(Bucket="boto-one", Key="multi/manual")["Metadata"] == {"m": "1"}

    upload = s3.create_multipart_upload(Bucket="boto-one", Key="multi/small")["UploadId"]
    where = {"Bucket": "boto-one", "Key": "multi/small", "UploadId": upload}
    tags = [{"PartNumber": number, "ETag": s3.upload_part(**where, PartNumber=number, Body=b"small")["ETag"]}
            for number in (1, 2)]
    expect("EntityTooSmall", 400, s3.complete_multipart_upload, **where, MultipartUpload={"Parts": tags})
    s3.abort_multipart_upload(**where)
    # Refused while the client waits for "100 Continue": the body is never sent, and the connection must not be mixed up.
    expect("NoSuchUpload", 404, s3.upload_part, **where, PartNumber=1, Body=b"late")
    assert "Uploads" not in s3.list_multipart_uploads(Bucket="boto-one")


def virtual_host():
    # Not every resolver knows that all names under localhost are this machine.
    resolve = socket.getaddrinfo
    socket.getaddrinfo = lambda host, *rest, **named: resolve(
        "127.0.0.1" if str(host).endswith(".localhost") else host, *rest, **named)
    client = boto3.client("s3", endpoint_url=os.environ["AWS_ENDPOINT_URL"].replace("127.0.0.1", "localhost"),
                          config=Config(s3={"addressing_style": "virtual"}, retries={"max_attempts": 1}))
    client.put_object(Bucket="boto-one", Key="virtual", Body=b"host")
    assert read("boto-one", "virtual") == b"host"


def clean_up():
    for page in s3.get_paginator("list_objects_v2").paginate(Bucket="boto-one"):
        for entry in page.get("Contents", []):
            s3.delete_object(Bucket="boto-one", Key=entry["Key"])
    s3.delete_bucket(Bucket="boto-one")


if __name__ == "__main__":
    run([buckets, sizes, keys, ranges_and_conditions, metadata, checksums, copies, listing, multipart, virtual_host,
         clean_up])
