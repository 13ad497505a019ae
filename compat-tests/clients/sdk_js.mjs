// The AWS SDK for JavaScript v3 against a gateway: put, every kind of call, what it reads
// compared byte by byte.
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { createRequire } from 'node:module';

// Modules come from NODE_PATH, which ES imports don't search.
const require = createRequire(import.meta.url);
const s3 = require('@aws-sdk/client-s3');
const { Upload } = require('@aws-sdk/lib-storage');

const client = new s3.S3Client({ forcePathStyle: true, maxAttempts: 1, region: process.env.AWS_REGION,
  endpoint: process.env.AWS_ENDPOINT_URL });
const bytes = (seed, size) => createHash('shake256', { outputLength: size }).update(seed).digest();
const read = async (Key, more = {}) =>
  Buffer.from(await (await client.send(new s3.GetObjectCommand({ Bucket, Key, ...more }))).Body.transformToByteArray());

const Bucket = 'js-sdk';
await client.send(new s3.CreateBucketCommand({ Bucket }));
for (const size of [0, 1, 8192, 8193, 1048577]) {
  const Body = bytes(`size ${size}`, size);
  await client.send(new s3.PutObjectCommand({ Bucket, Key: `size/${size}`, Body, Metadata: { size: `${size}` } }));
  assert.ok((await read(`size/${size}`)).equals(Body), `size ${size}`);
}

const large = bytes('large', 17 * 1024 * 1024 + 3);
await new Upload({ client, params: { Bucket, Key: 'large', Body: large }, partSize: 5 * 1024 * 1024 }).done();
assert.ok((await read('large')).equals(large), 'multipart upload');
assert.ok((await read('large', { Range: 'bytes=5242870-5242890' })).equals(large.subarray(5242870, 5242891)));

const listed = await client.send(new s3.ListObjectsV2Command({ Bucket, Delimiter: '/' }));
assert.deepEqual(listed.Contents.map((entry) => entry.Key), ['large']);
assert.deepEqual(listed.CommonPrefixes.map((entry) => entry.Prefix), ['size/']);

await assert.rejects(client.send(new s3.GetObjectCommand({ Bucket, Key: 'absent' })), { name: 'NoSuchKey' });
await assert.rejects(client.send(new s3.PutObjectCommand({ Bucket, Key: 'large', Body: 'x', IfNoneMatch: '*' })),
  (error) => error.$metadata.httpStatusCode === 412);

for (const ChecksumAlgorithm of ['CRC32', 'CRC32C', 'SHA1', 'SHA256', 'CRC64NVME']) {
  const Key = `sum/${ChecksumAlgorithm}`;
  await client.send(new s3.PutObjectCommand({ Bucket, Key, Body: large.subarray(0, 99999), ChecksumAlgorithm }));
  assert.ok((await read(Key, { ChecksumMode: 'ENABLED' })).equals(large.subarray(0, 99999)), ChecksumAlgorithm);
}

const secret = { SSECustomerAlgorithm: 'AES256', SSECustomerKey: bytes('secret', 32).toString('base64') };
await client.send(new s3.PutObjectCommand({ Bucket, Key: 'sealed', Body: large.subarray(0, 300000), ...secret }));
assert.ok((await read('sealed', secret)).equals(large.subarray(0, 300000)), 'customer key');
await assert.rejects(read('sealed'), (error) => error.$metadata.httpStatusCode === 400);

const TagSet = [{ Key: 'kind', Value: 'a b' }];
await client.send(new s3.CopyObjectCommand({ Bucket, Key: 'copy', CopySource: `${Bucket}/large`, TaggingDirective: 'REPLACE',
  Tagging: 'kind=a%20b' }));
assert.ok((await read('copy')).equals(large), 'copy');
assert.deepEqual((await client.send(new s3.GetObjectTaggingCommand({ Bucket, Key: 'copy' }))).TagSet, TagSet);

await client.send(new s3.PutBucketVersioningCommand({ Bucket, VersioningConfiguration: { Status: 'Enabled' } }));
const first = (await client.send(new s3.PutObjectCommand({ Bucket, Key: 'v', Body: 'first' }))).VersionId;
await client.send(new s3.PutObjectCommand({ Bucket, Key: 'v', Body: 'second' }));
await client.send(new s3.DeleteObjectCommand({ Bucket, Key: 'v' }));
await assert.rejects(read('v'), { name: 'NoSuchKey' });
assert.equal((await read('v', { VersionId: first })).toString(), 'first');
await assert.rejects(client.send(new s3.DeleteBucketCommand({ Bucket })), { name: 'BucketNotEmpty' });

const objects = [];
for (let page = {}; page.IsTruncated !== false;) {
  page = await client.send(new s3.ListObjectVersionsCommand({ Bucket, MaxKeys: 5, KeyMarker: page.NextKeyMarker,
    VersionIdMarker: page.NextVersionIdMarker }));
  objects.push(...page.Versions ?? [], ...page.DeleteMarkers ?? []);
}
const deleted = await client.send(new s3.DeleteObjectsCommand({ Bucket,
  Delete: { Objects: objects.map(({ Key, VersionId }) => ({ Key, VersionId })) } }));
assert.equal(deleted.Deleted.length, objects.length);
await client.send(new s3.DeleteBucketCommand({ Bucket }));
console.log('ok');
