"""What boto3's suites share: the client, and how they compare.

Run with the AWS_* variables of credentials.env. The first failure ends a suite with a traceback.
"""

import hashlib
import json
import sys

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError

KIB, MIB = 1024, 1024 * 1024
s3 = boto3.client("s3", config=Config(signature_version="s3v4", s3={"addressing_style": "path"},
                                       retries={"max_attempts": 1}))


def expect(code, status, call, **arguments):
    """The call must fail with this S3 code and HTTP status."""
    try:
        call(**arguments)
    except ClientError as error:
        got = (error.response["Error"]["Code"], error.response["ResponseMetadata"]["HTTPStatusCode"])
        assert got == (code, status), f"{arguments}: expected {(code, status)}, got {got}"
    else:
        raise AssertionError(f"{arguments}: expected {code}, but it succeeded")


def body(seed, size):
    return hashlib.shake_128(str(seed).encode()).digest(size)


def read(bucket, key, **arguments):
    return s3.get_object(Bucket=bucket, Key=key, **arguments)["Body"].read()


def empty_versions(bucket):
    for page in s3.get_paginator("list_object_versions").paginate(Bucket=bucket):
        entries = page.get("Versions", []) + page.get("DeleteMarkers", [])
        objects = [{"Key": entry["Key"], "VersionId": entry["VersionId"]} for entry in entries]
        answer = s3.delete_objects(Bucket=bucket, Delete={"Objects": objects}, BypassGovernanceRetention=True)
        assert len(answer["Deleted"]) == len(objects) and "Errors" not in answer, answer
    left = s3.list_object_versions(Bucket=bucket)
    assert "Versions" not in left and "DeleteMarkers" not in left, left


def empty(bucket):
    """Deletes what is in the bucket, and the bucket."""
    empty_versions(bucket)
    s3.delete_bucket(Bucket=bucket)


def run(steps):
    """Runs the steps in order, or the first one and those that the command line names."""
    only = set(sys.argv[1:])
    done = []
    for number, step in enumerate(steps):
        if only and number > 0 and step.__name__ not in only:
            continue
        step()
        done.append(step.__name__)
    print(json.dumps({"steps": done}))
