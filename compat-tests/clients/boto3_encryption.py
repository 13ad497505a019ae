"""boto3 against the three kinds of server-side encryption.

Run with the AWS_* variables of credentials.env; KMS_KEY names a key of the account.
"""

import os

from boto3_session import MIB, body, empty, expect, read, run, s3

BUCKET = "boto-sealed"
NAMED = os.environ["KMS_KEY"]
CUSTOMER = {"SSECustomerAlgorithm": "AES256", "SSECustomerKey": body("customer", 32)}
OTHER = {"SSECustomerAlgorithm": "AES256", "SSECustomerKey": body("other", 32)}
SOURCE = {f"CopySource{name}": value for name, value in CUSTOMER.items()}


def customer_keys():
    s3.create_bucket(Bucket=BUCKET)
    for size in [0, 100, 300_000, 5 * MIB + 1]:
        data, where = body(size, size), {"Bucket": BUCKET, "Key": f"c/{size}"}
        s3.put_object(**where, Body=data, **CUSTOMER)
        assert read(BUCKET, f"c/{size}", **CUSTOMER) == data, size
        assert s3.head_object(**where, **CUSTOMER)["SSECustomerAlgorithm"] == "AES256"
        expect("InvalidRequest", 400, s3.get_object, **where)
        expect("InvalidRequest", 400, s3.get_object, **where, **OTHER)
    data, source = body(300_000, 300_000), {"Bucket": BUCKET, "Key": "c/300000"}
    s3.copy_object(Bucket=BUCKET, Key="c/other", CopySource=source, **SOURCE, **OTHER)
    assert read(BUCKET, "c/other", **OTHER, Range="bytes=1000-200000") == data[1000:200_001]
    s3.copy_object(Bucket=BUCKET, Key="c/opened", CopySource=source, **SOURCE)
    assert read(BUCKET, "c/opened") == data


def customer_key_of_an_upload():
    data, where = body("parts", 11 * MIB), {"Bucket": BUCKET, "Key": "c/parts"}
    upload = s3.create_multipart_upload(**where, **CUSTOMER)["UploadId"]
    parts = []
    for number, start in enumerate(range(0, len(data), 6 * MIB), 1):
        part = s3.upload_part(**where, UploadId=upload, PartNumber=number, Body=data[start:start + 6 * MIB], **CUSTOMER)
        parts.append({"PartNumber": number, "ETag": part["ETag"]})
    expect("InvalidRequest", 400, s3.upload_part, **where, UploadId=upload, PartNumber=3, Body=b"open")
    s3.complete_multipart_upload(**where, UploadId=upload, MultipartUpload={"Parts": parts}, **CUSTOMER)
    assert read(BUCKET, "c/parts", **CUSTOMER) == data


def named_keys():
    data, where = body("named", 400_000), {"Bucket": BUCKET, "Key": "named"}
    put = s3.put_object(**where, Body=data, ServerSideEncryption="aws:kms", SSEKMSKeyId=NAMED)
    head = s3.head_object(**where)
    for answer in (put, head):
        assert answer["ServerSideEncryption"] == "aws:kms" and NAMED in answer["SSEKMSKeyId"], answer
    assert read(BUCKET, "named") == data
    s3.put_object(Bucket=BUCKET, Key="unnamed", Body=data, ServerSideEncryption="aws:kms")
    assert read(BUCKET, "unnamed") == data
    try:
        s3.put_object(Bucket=BUCKET, Key="absent", Body=data, ServerSideEncryption="aws:kms", SSEKMSKeyId="no-such-key")
    except s3.exceptions.ClientError as error:
        assert error.response["ResponseMetadata"]["HTTPStatusCode"] == 400, error
    else:
        raise AssertionError("a key that is not there sealed an object")
    expect("NoSuchKey", 404, s3.get_object, Bucket=BUCKET, Key="absent")


def default_of_the_bucket():
    def rule(**default):
        return {"Rules": [{"ApplyServerSideEncryptionByDefault": default, "BucketKeyEnabled": False}]}

    for default in [{"SSEAlgorithm": "AES256"}, {"SSEAlgorithm": "aws:kms", "KMSMasterKeyID": NAMED}]:
        s3.put_bucket_encryption(Bucket=BUCKET, ServerSideEncryptionConfiguration=rule(**default))
        kept = s3.get_bucket_encryption(Bucket=BUCKET)["ServerSideEncryptionConfiguration"]["Rules"][0]
        assert kept["ApplyServerSideEncryptionByDefault"] == default, kept
        put = s3.put_object(Bucket=BUCKET, Key="default", Body=b"by default")
        assert put["ServerSideEncryption"] == default["SSEAlgorithm"], put
        assert read(BUCKET, "default") == b"by default"
    s3.delete_bucket_encryption(Bucket=BUCKET)
    put = s3.put_object(Bucket=BUCKET, Key="asked", Body=b"asked", ServerSideEncryption="AES256")
    assert put["ServerSideEncryption"] == "AES256" and read(BUCKET, "asked") == b"asked"
    assert s3.get_object(Bucket=BUCKET, Key="asked")["ServerSideEncryption"] == "AES256"
    empty(BUCKET)


if __name__ == "__main__":
    run([customer_keys, customer_key_of_an_upload, named_keys, default_of_the_bucket])
