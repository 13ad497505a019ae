"""boto3 with far more threads than its account's rate allows: it is told to slow down, backs off and completes.

Run with the AWS_* variables of an account of few requests a second.
"""

import threading
from concurrent.futures import ThreadPoolExecutor

import boto3
from botocore.config import Config

from boto3_session import body, run

BUCKET = "throttled"
OBJECTS, THREADS = 300, 90
s3 = boto3.client("s3", config=Config(signature_version="s3v4", s3={"addressing_style": "path"},
                                       max_pool_connections=THREADS,
                                       retries={"mode": "standard", "max_attempts": 10}))
told = []
lock = threading.Lock()


def note(response_dict, parsed_response, **_):
    if response_dict and response_dict["status_code"] == 503:
        with lock:
            told.append((parsed_response["Error"]["Code"], response_dict["headers"].get("retry-after")))


def everything_arrives():
    s3.meta.events.register("response-received.s3", note)
    s3.create_bucket(Bucket=BUCKET)
    with ThreadPoolExecutor(THREADS) as pool:
        list(pool.map(lambda n: s3.put_object(Bucket=BUCKET, Key=f"{n:04}", Body=body(n, 100)), range(OBJECTS)))
    listed = s3.list_objects_v2(Bucket=BUCKET)
    assert [entry["Key"] for entry in listed["Contents"]] == [f"{n:04}" for n in range(OBJECTS)]
    assert told, "nobody was told to slow down"
    assert {code for code, _ in told} == {"SlowDown"}, told
    assert all(int(after) >= 1 for _, after in told), told


run([everything_arrives])
