"""boto3 against versions, object lock and tags.

Run with the AWS_* variables of credentials.env.
"""

import concurrent.futures
import datetime

from botocore.exceptions import ClientError

from boto3_session import KIB, MIB, body, empty, expect, read, run, s3


def versions():
    s3.create_bucket(Bucket="boto-versions")
    s3.put_object(Bucket="boto-versions", Key="k", Body=b"null")
    assert "Status" not in s3.get_bucket_versioning(Bucket="boto-versions")
    s3.put_bucket_versioning(Bucket="boto-versions", VersioningConfiguration={"Status": "Enabled"})
    assert s3.get_bucket_versioning(Bucket="boto-versions")["Status"] == "Enabled"
    bodies = [body(f"version {number}", size) for number, size in enumerate([0, 5, 9 * KIB, 2 * MIB])]
    ids = [s3.put_object(Bucket="boto-versions", Key="k", Body=data)["VersionId"] for data in bodies]
    assert len(set(ids)) == len(ids)
    for version, data in zip(["null"] + ids, [b"null"] + bodies):
        assert read("boto-versions", "k", VersionId=version) == data, version
    marker = s3.delete_object(Bucket="boto-versions", Key="k")
    assert marker["DeleteMarker"] is True
    expect("NoSuchKey", 404, s3.get_object, Bucket="boto-versions", Key="k")
    expect("MethodNotAllowed", 405, s3.get_object, Bucket="boto-versions", Key="k", VersionId=marker["VersionId"])
    s3.put_object(Bucket="boto-versions", Key="k/other", Body=b"other")
    listed = s3.list_object_versions(Bucket="boto-versions", Prefix="k")
    assert [entry["VersionId"] for entry in listed["Versions"] if entry["Key"] == "k"] == ids[::-1] + ["null"]
    assert [entry["VersionId"] for entry in listed["DeleteMarkers"]] == [marker["VersionId"]]
    assert {entry["Key"]: entry["IsLatest"] for entry in listed["DeleteMarkers"]} == {"k": True}
    pages = s3.get_paginator("list_object_versions").paginate(Bucket="boto-versions", PaginationConfig={"PageSize": 2})
    paged = [entry["VersionId"] for page in pages for entry in page.get("DeleteMarkers", []) + page.get("Versions", [])]
    assert paged[:6] == [marker["VersionId"]] + ids[::-1] + ["null"] and len(paged) == 7, paged

    # An old version becomes the current one again, and a copy names its source's version.
    copied = s3.copy_object(Bucket="boto-versions", Key="k",
                            CopySource={"Bucket": "boto-versions", "Key": "k", "VersionId": ids[3]})
    assert copied["CopySourceVersionId"] == ids[3] and copied["VersionId"] not in ids
    assert read("boto-versions", "k") == bodies[3]
    s3.delete_object(Bucket="boto-versions", Key="k", VersionId=ids[3])
    assert read("boto-versions", "k") == bodies[3], "a copy outlives its source"
    expect("NoSuchVersion", 404, s3.get_object, Bucket="boto-versions", Key="k", VersionId=ids[3])

    s3.put_bucket_versioning(Bucket="boto-versions", VersioningConfiguration={"Status": "Suspended"})
    assert "VersionId" not in s3.put_object(Bucket="boto-versions", Key="k", Body=b"null again")
    assert read("boto-versions", "k", VersionId="null") == b"null again"
    assert read("boto-versions", "k", VersionId=ids[0]) == bodies[0]
    empty("boto-versions")


def locks():
    s3.create_bucket(Bucket="boto-locked", ObjectLockEnabledForBucket=True)
    where = {"Bucket": "boto-locked", "Key": "k"}
    assert s3.get_object_lock_configuration(Bucket="boto-locked")["ObjectLockConfiguration"] == {
        "ObjectLockEnabled": "Enabled"}
    expect("InvalidBucketState", 409, s3.put_bucket_versioning, Bucket="boto-locked",
           VersioningConfiguration={"Status": "Suspended"})
    now = datetime.datetime.now(datetime.timezone.utc).replace(microsecond=0)
    soon, late = now + datetime.timedelta(days=1), now + datetime.timedelta(days=2)
    version = s3.put_object(**where, Body=b"held", ObjectLockMode="GOVERNANCE", ObjectLockRetainUntilDate=late,
                            ObjectLockLegalHoldStatus="ON")["VersionId"]
    head = s3.head_object(**where)
    assert (head["ObjectLockMode"], head["ObjectLockRetainUntilDate"]) == ("GOVERNANCE", late), head
    assert head["ObjectLockLegalHoldStatus"] == "ON"
    expect("AccessDenied", 403, s3.delete_object, **where, VersionId=version, BypassGovernanceRetention=True)
    s3.put_object_legal_hold(**where, LegalHold={"Status": "OFF"})
    assert s3.get_object_legal_hold(**where)["LegalHold"] == {"Status": "OFF"}
    expect("AccessDenied", 403, s3.delete_object, **where, VersionId=version)
    sooner = {"Mode": "GOVERNANCE", "RetainUntilDate": soon}
    expect("AccessDenied", 403, s3.put_object_retention, **where, Retention=sooner)
    s3.put_object_retention(**where, Retention=sooner, BypassGovernanceRetention=True)
    assert s3.get_object_retention(**where, VersionId=version)["Retention"] == sooner
    answer = s3.delete_objects(Bucket="boto-locked", Delete={"Objects": [{"Key": "k", "VersionId": version}]})
    assert [error["Code"] for error in answer["Errors"]] == ["AccessDenied"], answer
    assert read("boto-locked", "k") == b"held"

    rule = {"DefaultRetention": {"Mode": "GOVERNANCE", "Days": 1}}
    s3.put_object_lock_configuration(Bucket="boto-locked", ObjectLockConfiguration={
        "ObjectLockEnabled": "Enabled", "Rule": rule})
    assert s3.get_object_lock_configuration(Bucket="boto-locked")["ObjectLockConfiguration"]["Rule"] == rule
    by_default = s3.put_object(Bucket="boto-locked", Key="default", Body=b"")["VersionId"]
    assert s3.get_object_retention(Bucket="boto-locked", Key="default")["Retention"]["Mode"] == "GOVERNANCE"
    expect("AccessDenied", 403, s3.delete_object, Bucket="boto-locked", Key="default", VersionId=by_default)
    expect("BucketNotEmpty", 409, s3.delete_bucket, Bucket="boto-locked")
    empty("boto-locked")
    s3.create_bucket(Bucket="boto-unlocked")
    expect("InvalidRequest", 400, s3.put_object, Bucket="boto-unlocked", Key="k", Body=b"",
           ObjectLockLegalHoldStatus="ON")
    s3.delete_bucket(Bucket="boto-unlocked")


def tagging():
    s3.create_bucket(Bucket="boto-tags")
    first, second = [{"Key": "a b", "Value": "1&2"}, {"Key": "é", "Value": ""}], [{"Key": "only", "Value": "one"}]
    s3.put_object(Bucket="boto-tags", Key="tagged", Body=b"t", Tagging="a%20b=1%262&%C3%A9=")
    assert s3.get_object_tagging(Bucket="boto-tags", Key="tagged")["TagSet"] == first
    assert s3.get_object(Bucket="boto-tags", Key="tagged")["TagCount"] == 2
    source = {"Bucket": "boto-tags", "Key": "tagged"}
    s3.copy_object(Bucket="boto-tags", Key="tagged/copy", CopySource=source)
    assert s3.get_object_tagging(Bucket="boto-tags", Key="tagged/copy")["TagSet"] == first
    s3.copy_object(Bucket="boto-tags", Key="tagged/copy", CopySource=source, TaggingDirective="REPLACE",
                   Tagging="only=one")
    assert s3.get_object_tagging(Bucket="boto-tags", Key="tagged/copy")["TagSet"] == second
    s3.put_object_tagging(Bucket="boto-tags", Key="tagged", Tagging={"TagSet": second})
    assert s3.get_object_tagging(Bucket="boto-tags", Key="tagged")["TagSet"] == second
    many = [{"Key": str(number), "Value": ""} for number in range(11)]
    expect("InvalidTag", 400, s3.put_object_tagging, Bucket="boto-tags", Key="tagged", Tagging={"TagSet": many})
    s3.delete_object_tagging(Bucket="boto-tags", Key="tagged")
    assert s3.get_object_tagging(Bucket="boto-tags", Key="tagged")["TagSet"] == []
    expect("NoSuchTagSet", 404, s3.get_bucket_tagging, Bucket="boto-tags")
    s3.put_bucket_tagging(Bucket="boto-tags", Tagging={"TagSet": second})
    assert s3.get_bucket_tagging(Bucket="boto-tags")["TagSet"] == second
    s3.delete_bucket_tagging(Bucket="boto-tags")
    expect("NoSuchTagSet", 404, s3.get_bucket_tagging, Bucket="boto-tags")
    empty("boto-tags")


def conditional_writes():
    s3.create_bucket(Bucket="boto-conditions")
    where = {"Bucket": "boto-conditions", "Key": "state"}
    first = s3.put_object(**where, Body=b"one", IfNoneMatch="*")["ETag"]
    second = s3.put_object(**where, Body=b"two", IfMatch=first)["ETag"]
    expect("PreconditionFailed", 412, s3.put_object, **where, Body=b"three", IfMatch=first)
    expect("PreconditionFailed", 412, s3.delete_object, **where, IfMatch=first)
    upload = s3.create_multipart_upload(**where)["UploadId"]
    part = s3.upload_part(**where, UploadId=upload, PartNumber=1, Body=b"parts")["ETag"]
    parts = {"Parts": [{"PartNumber": 1, "ETag": part}]}
    expect("PreconditionFailed", 412, s3.complete_multipart_upload, **where, UploadId=upload, MultipartUpload=parts,
           IfNoneMatch="*")
    assert read("boto-conditions", "state") == b"two"
    s3.complete_multipart_upload(**where, UploadId=upload, MultipartUpload=parts, IfMatch=second)
    assert read("boto-conditions", "state") == b"parts"

    # Of all that create one key at once, one succeeds.
    def create(number):
        try:
            s3.put_object(Bucket="boto-conditions", Key="lock", Body=str(number).encode(), IfNoneMatch="*")
        except ClientError as error:
            assert error.response["Error"]["Code"] in ("PreconditionFailed", "ConditionalRequestConflict"), error
            return None
        return str(number).encode()

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        winners = [made for made in pool.map(create, range(16)) if made is not None]
    assert len(winners) == 1 and read("boto-conditions", "lock") == winners[0], winners
    empty("boto-conditions")


if __name__ == "__main__":
    run([versions, locks, tagging, conditional_writes])
