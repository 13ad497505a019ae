"""boto3 against who may do what: policies, ACLs, presigned URLs, forms, temporary credentials, CORS.

Run with the AWS_* variables of credentials.env.
"""

import json
import os
import urllib.error
import urllib.request

import boto3
from botocore import UNSIGNED
from botocore.config import Config

from boto3_session import body, empty, expect, read, run, s3

BUCKET = "boto-access"
ENDPOINT = os.environ["AWS_ENDPOINT_URL"]
sts = boto3.client("sts", config=Config(retries={"max_attempts": 1}))
nobody = boto3.client("s3", config=Config(signature_version=UNSIGNED, s3={"addressing_style": "path"},
                                          retries={"max_attempts": 1}))


def http(url, **request):
    """Status, headers and body, whatever the status."""
    try:
        with urllib.request.urlopen(urllib.request.Request(url, **request)) as answer:
            return answer.status, answer.headers, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.headers, error.read()


def policies():
    s3.create_bucket(Bucket=BUCKET)
    data = body("public", 70_000)
    s3.put_object(Bucket=BUCKET, Key="public/a b", Body=data)
    s3.put_object(Bucket=BUCKET, Key="private", Body=b"private")
    expect("AccessDenied", 403, nobody.get_object, Bucket=BUCKET, Key="public/a b")
    expect("NoSuchBucketPolicy", 404, s3.get_bucket_policy, Bucket=BUCKET)
    policy = {"Version": "2012-10-17", "Statement": [
        {"Effect": "Allow", "Principal": "*", "Action": "s3:GetObject", "Resource": f"arn:aws:s3:::{BUCKET}/public/*"}]}
    s3.put_bucket_policy(Bucket=BUCKET, Policy=json.dumps(policy))
    assert json.loads(s3.get_bucket_policy(Bucket=BUCKET)["Policy"]) == policy
    assert s3.get_bucket_policy_status(Bucket=BUCKET)["PolicyStatus"]["IsPublic"] is True
    assert nobody.get_object(Bucket=BUCKET, Key="public/a b")["Body"].read() == data
    expect("AccessDenied", 403, nobody.get_object, Bucket=BUCKET, Key="private")
    expect("AccessDenied", 403, nobody.put_object, Bucket=BUCKET, Key="public/a b", Body=b"")
    expect("AccessDenied", 403, nobody.list_objects_v2, Bucket=BUCKET)
    expect("MalformedPolicy", 400, s3.put_bucket_policy, Bucket=BUCKET, Policy="{")
    block = {"BlockPublicAcls": True, "IgnorePublicAcls": True, "BlockPublicPolicy": True, "RestrictPublicBuckets": True}
    s3.put_public_access_block(Bucket=BUCKET, PublicAccessBlockConfiguration=block)
    assert s3.get_public_access_block(Bucket=BUCKET)["PublicAccessBlockConfiguration"] == block
    expect("AccessDenied", 403, nobody.get_object, Bucket=BUCKET, Key="public/a b")
    expect("AccessDenied", 403, s3.put_bucket_policy, Bucket=BUCKET, Policy=json.dumps(policy))
    s3.delete_public_access_block(Bucket=BUCKET)
    s3.delete_bucket_policy(Bucket=BUCKET)
    expect("AccessDenied", 403, nobody.get_object, Bucket=BUCKET, Key="public/a b")


def access_control_lists():
    rules = {"Rules": [{"ObjectOwnership": "ObjectWriter"}]}
    s3.put_bucket_ownership_controls(Bucket=BUCKET, OwnershipControls=rules)
    assert s3.get_bucket_ownership_controls(Bucket=BUCKET)["OwnershipControls"] == rules
    s3.put_object(Bucket=BUCKET, Key="acl", Body=b"for all", ACL="public-read")
    assert nobody.get_object(Bucket=BUCKET, Key="acl")["Body"].read() == b"for all"
    grants = s3.get_object_acl(Bucket=BUCKET, Key="acl")["Grants"]
    assert sorted(grant["Permission"] for grant in grants) == ["FULL_CONTROL", "READ"], grants
    s3.put_object_acl(Bucket=BUCKET, Key="acl", ACL="private")
    expect("AccessDenied", 403, nobody.get_object, Bucket=BUCKET, Key="acl")


def presigned():
    where = {"Bucket": BUCKET, "Key": "signed"}
    url = s3.generate_presigned_url("put_object", Params=where, ExpiresIn=60)
    assert http(url, data=b"by url", method="PUT")[0] == 200
    url = s3.generate_presigned_url("get_object", Params=where, ExpiresIn=60)
    status, headers, data = http(url)
    assert (status, data) == (200, b"by url") and headers["x-amz-request-id"]
    assert http(url.replace("signed", "other", 1))[0] == 403, "a presigned URL opened another key"
    wrong = boto3.client("s3", aws_access_key_id=os.environ["AWS_ACCESS_KEY_ID"], aws_secret_access_key="wrong" * 8)
    expect("SignatureDoesNotMatch", 403, wrong.list_objects_v2, Bucket=BUCKET)
    unknown = boto3.client("s3", aws_access_key_id="AKIAUNKNOWNUNKNOWN00", aws_secret_access_key="x" * 40)
    expect("InvalidAccessKeyId", 403, unknown.list_objects_v2, Bucket=BUCKET)


def form(fields, data):
    """A form as a browser sends it: its body and its media type."""
    parts = [f'--line\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'.encode()
             for name, value in fields.items()]
    parts.append(b'--line\r\nContent-Disposition: form-data; name="file"; filename="photo one.jpg"\r\n\r\n' + data)
    return b"".join(parts) + b"\r\n--line--\r\n", {"Content-Type": "multipart/form-data; boundary=line"}


def forms():
    data = body("form", 500_000)
    post = s3.generate_presigned_post(
        BUCKET, "up/${filename}", Fields={"x-amz-meta-note": "one", "success_action_status": "201"}, ExpiresIn=60,
        Conditions=[{"x-amz-meta-note": "one"}, {"success_action_status": "201"}, ["content-length-range", 1, 600_000]])
    sent, headers = form(post["fields"], data)
    status, _, answer = http(post["url"], data=sent, headers=headers, method="POST")
    assert status == 201 and b"<Key>up/photo one.jpg</Key>" in answer, (status, answer)
    assert read(BUCKET, "up/photo one.jpg") == data
    assert s3.head_object(Bucket=BUCKET, Key="up/photo one.jpg")["Metadata"] == {"note": "one"}
    sent, headers = form(post["fields"], body("long", 600_001))
    status, _, answer = http(post["url"], data=sent, headers=headers, method="POST")
    assert status == 400 and b"<Code>EntityTooLarge</Code>" in answer, (status, answer)
    sent, headers = form(post["fields"] | {"x-amz-meta-note": "two"}, data)
    assert http(post["url"], data=sent, headers=headers, method="POST")[0] == 403
    assert read(BUCKET, "up/photo one.jpg") == data, "refused forms change nothing"


def session_client(credentials):
    return boto3.client("s3", aws_access_key_id=credentials["AccessKeyId"],
                        aws_secret_access_key=credentials["SecretAccessKey"],
                        aws_session_token=credentials["SessionToken"],
                        config=Config(signature_version="s3v4", retries={"max_attempts": 1}))


def temporary_credentials():
    account = sts.get_caller_identity()["Account"]
    session = session_client(sts.get_session_token(DurationSeconds=900)["Credentials"])
    session.put_object(Bucket=BUCKET, Key="session", Body=b"by a session")
    assert session.get_object(Bucket=BUCKET, Key="session")["Body"].read() == b"by a session"
    policy = {"Version": "2012-10-17", "Statement": [
        {"Effect": "Allow", "Action": "s3:GetObject", "Resource": f"arn:aws:s3:::{BUCKET}/session"}]}
    role = {"RoleArn": f"arn:aws:iam::{account}:role/reader", "RoleSessionName": "reader-1"}
    reader = session_client(sts.assume_role(**role, Policy=json.dumps(policy))["Credentials"])
    assert reader.get_object(Bucket=BUCKET, Key="session")["Body"].read() == b"by a session"
    expect("AccessDenied", 403, reader.put_object, Bucket=BUCKET, Key="session", Body=b"")
    expect("AccessDenied", 403, reader.get_object, Bucket=BUCKET, Key="private")
    url = reader.generate_presigned_url("get_object", Params={"Bucket": BUCKET, "Key": "session"}, ExpiresIn=60)
    assert http(url)[2] == b"by a session"
    expect("MalformedPolicyDocument", 400, sts.assume_role, **role, Policy="{}{")
    expect("AccessDenied", 403, sts.assume_role, RoleSessionName="other",
           RoleArn=f"arn:aws:iam::{'0' * 32}:role/reader")


def cross_origin():
    expect("NoSuchCORSConfiguration", 404, s3.get_bucket_cors, Bucket=BUCKET)
    rules = [{"ID": "pages", "AllowedOrigins": ["https://*.example.org"], "AllowedMethods": ["GET", "PUT"],
              "AllowedHeaders": ["x-amz-*"], "ExposeHeaders": ["ETag"], "MaxAgeSeconds": 300}]
    s3.put_bucket_cors(Bucket=BUCKET, CORSConfiguration={"CORSRules": rules})
    assert s3.get_bucket_cors(Bucket=BUCKET)["CORSRules"] == rules
    origin = {"Origin": "https://app.example.org", "Access-Control-Request-Method": "PUT",
              "Access-Control-Request-Headers": "x-amz-date"}
    status, headers, _ = http(f"{ENDPOINT}/{BUCKET}/key", headers=origin, method="OPTIONS")
    assert status == 200 and headers["access-control-allow-origin"] == "https://app.example.org", dict(headers)
    assert headers["access-control-max-age"] == "300"
    assert http(f"{ENDPOINT}/{BUCKET}/key", headers=origin | {"Origin": "https://example.com"}, method="OPTIONS")[0] == 403
    url = s3.generate_presigned_url("get_object", Params={"Bucket": BUCKET, "Key": "signed"}, ExpiresIn=60)
    _, headers, data = http(url, headers={"Origin": "https://app.example.org"})
    assert headers["access-control-expose-headers"] == "ETag" and data == b"by url", dict(headers)
    s3.delete_bucket_cors(Bucket=BUCKET)
    empty(BUCKET)


if __name__ == "__main__":
    run([policies, access_control_lists, presigned, forms, temporary_credentials, cross_origin])
