// The AWS SDK for JavaScript v3 against a gateway: put, get, list, multipart upload, delete, each compared byte by byte.
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

const all = await client.send(new s3.ListObjectsV2Command({ Bucket }));
const deleted = await client.send(new s3.DeleteObjectsCommand({ Bucket,
  Delete: { Objects: all.Contents.map(({ Key }) => ({ Key })) } }));
assert.equal(deleted.Deleted.length, all.Contents.length);
await client.send(new s3.DeleteBucketCommand({ Bucket }));
console.log('ok');
