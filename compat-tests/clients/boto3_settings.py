"""boto3 against buckets' settings, each seen to work: lifecycle, website, notification, logging.

Run with the AWS_* variables of credentials.env, against a gateway whose lifecycle days last seconds and whose web sites
are on WEBSITE_ENDPOINT.
"""

import datetime
import http.server
import json
import os
import queue
import threading
import time
import urllib.error
import urllib.parse
import urllib.request

from boto3_session import body, empty, expect, read, run, s3

BUCKET = "boto-settings"
PATIENCE_SECONDS = 60


def eventually(what, check):
    """What `check` gives, once it gives something."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < deadline:
        found = check()
        if found:
            return found
        time.sleep(0.2)
    raise AssertionError(f"{what}: not within {PATIENCE_SECONDS} seconds")


def what_is_not_configured():
    s3.create_bucket(Bucket=BUCKET)
    expect("NoSuchLifecycleConfiguration", 404, s3.get_bucket_lifecycle_configuration, Bucket=BUCKET)
    expect("NoSuchWebsiteConfiguration", 404, s3.get_bucket_website, Bucket=BUCKET)
    expect("ReplicationConfigurationNotFoundError", 404, s3.get_bucket_replication, Bucket=BUCKET)
    expect("ObjectLockConfigurationNotFoundError", 404, s3.get_object_lock_configuration, Bucket=BUCKET)
    assert "LoggingEnabled" not in s3.get_bucket_logging(Bucket=BUCKET)
    assert "Status" not in s3.get_bucket_accelerate_configuration(Bucket=BUCKET)
    assert s3.get_bucket_request_payment(Bucket=BUCKET)["Payer"] == "BucketOwner"
    notification = s3.get_bucket_notification_configuration(Bucket=BUCKET)
    assert not any(name.endswith("Configurations") for name in notification), notification


def logging():
    s3.create_bucket(Bucket="boto-logs")
    enabled = {"TargetBucket": "boto-logs", "TargetPrefix": "access/"}
    s3.put_bucket_logging(Bucket=BUCKET, BucketLoggingStatus={"LoggingEnabled": enabled})
    kept = s3.get_bucket_logging(Bucket=BUCKET)["LoggingEnabled"]
    assert {name: kept[name] for name in enabled} == enabled, kept
    s3.put_object(Bucket=BUCKET, Key="logged", Body=b"12345")


def notification():
    told = queue.Queue()

    class Webhook(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            told.put(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Webhook)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    topic = {"Id": "one", "TopicArn": f"arn:aws:sns:::http://127.0.0.1:{server.server_port}/hook",
             "Events": ["s3:ObjectCreated:*"],
             "Filter": {"Key": {"FilterRules": [{"Name": "prefix", "Value": "told/"}]}}}
    s3.put_bucket_notification_configuration(Bucket=BUCKET, NotificationConfiguration={"TopicConfigurations": [topic]})
    kept = s3.get_bucket_notification_configuration(Bucket=BUCKET)["TopicConfigurations"][0]
    assert (kept["TopicArn"], kept["Events"]) == (topic["TopicArn"], topic["Events"]), kept
    s3.put_object(Bucket=BUCKET, Key="untold", Body=b"")
    etag = s3.put_object(Bucket=BUCKET, Key="told/a b", Body=b"123")["ETag"].strip('"')
    record = told.get(timeout=PATIENCE_SECONDS)["Records"][0]
    seen = record["s3"]["object"]
    assert (record["eventName"], urllib.parse.unquote_plus(seen["key"]), seen["size"], seen["eTag"]) == (
        "ObjectCreated:Put", "told/a b", 3, etag), record
    s3.put_bucket_notification_configuration(Bucket=BUCKET, NotificationConfiguration={})
    server.shutdown()


def visit(path):
    """Status and body of a page of the bucket's web site, found by the host."""
    request = urllib.request.Request(os.environ["WEBSITE_ENDPOINT"] + path, headers={"Host": f"{BUCKET}.localhost"})
    try:
        with urllib.request.urlopen(request) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()


def website():
    pages = {"IndexDocument": {"Suffix": "index.html"}, "ErrorDocument": {"Key": "error.html"}}
    s3.put_bucket_website(Bucket=BUCKET, WebsiteConfiguration=pages)
    kept = s3.get_bucket_website(Bucket=BUCKET)
    assert {name: kept[name] for name in pages} == pages, kept
    home = body("home", 100_000)
    s3.put_object(Bucket=BUCKET, Key="docs/index.html", Body=home, ContentType="text/html")
    s3.put_object(Bucket=BUCKET, Key="error.html", Body=b"sorry")
    assert visit("/docs/")[0] == 403, "nobody may read yet"
    policy = {"Version": "2012-10-17", "Statement": [
        {"Effect": "Allow", "Principal": "*", "Action": ["s3:GetObject", "s3:ListBucket"],
         "Resource": [f"arn:aws:s3:::{BUCKET}", f"arn:aws:s3:::{BUCKET}/*"]}]}
    s3.put_bucket_policy(Bucket=BUCKET, Policy=json.dumps(policy))
    assert visit("/docs/") == (200, home)
    assert visit("/absent") == (404, b"sorry")
    s3.delete_bucket_website(Bucket=BUCKET)
    s3.delete_bucket_policy(Bucket=BUCKET)
    expect("NoSuchWebsiteConfiguration", 404, s3.get_bucket_website, Bucket=BUCKET)


def lifecycle():
    s3.create_bucket(Bucket="boto-expiring")
    s3.put_bucket_versioning(Bucket="boto-expiring", VersioningConfiguration={"Status": "Enabled"})
    rules = [
        {"ID": "brief", "Status": "Enabled", "Filter": {"Prefix": "brief/"}, "Expiration": {"Days": 1},
         "NoncurrentVersionExpiration": {"NoncurrentDays": 1}},
        {"ID": "uploads", "Status": "Enabled", "Filter": {"Prefix": ""},
         "AbortIncompleteMultipartUpload": {"DaysAfterInitiation": 1}},
    ]
    for key in ("brief/a", "kept"):
        s3.put_object(Bucket="boto-expiring", Key=key, Body=body(key, 20_000))
    s3.create_multipart_upload(Bucket="boto-expiring", Key="never completed")
    s3.put_bucket_lifecycle_configuration(Bucket="boto-expiring", LifecycleConfiguration={"Rules": rules})
    assert s3.get_bucket_lifecycle_configuration(Bucket="boto-expiring")["Rules"] == rules

    def only_kept_is_left():
        left = s3.list_object_versions(Bucket="boto-expiring")
        return [entry["Key"] for entry in left.get("Versions", [])] == ["kept"]

    eventually("expiry", only_kept_is_left)
    eventually("abort", lambda: "Uploads" not in s3.list_multipart_uploads(Bucket="boto-expiring"))
    assert read("boto-expiring", "kept") == body("kept", 20_000)
    s3.delete_bucket_lifecycle(Bucket="boto-expiring")
    expect("NoSuchLifecycleConfiguration", 404, s3.get_bucket_lifecycle_configuration, Bucket="boto-expiring")
    empty("boto-expiring")


def log_lines():
    """The access log, which is written while the other steps run."""

    def lines():
        keys = [entry["Key"] for entry in s3.list_objects_v2(Bucket="boto-logs", Prefix="access/").get("Contents", [])]
        text = b"".join(read("boto-logs", key) for key in keys).decode()
        return [line for line in text.splitlines() if "REST.PUT.OBJECT logged" in line]

    line, = eventually("the access log", lines)
    assert f" {BUCKET} [" in line and ' 200 - - 5 ' in line, line
    assert str(datetime.datetime.now(datetime.timezone.utc).year) in line
    s3.put_bucket_logging(Bucket=BUCKET, BucketLoggingStatus={})
    empty(BUCKET)


if __name__ == "__main__":
    run([what_is_not_configured, logging, notification, website, lifecycle, log_lines])
