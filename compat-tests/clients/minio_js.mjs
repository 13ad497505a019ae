// MinIO's JavaScript client against a gateway; what it reads is compared byte by byte.
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { createRequire } from 'node:module';
import { Readable } from 'node:stream';
import { buffer } from 'node:stream/consumers';

// Modules come from NODE_PATH, which ES imports don't search.
const require = createRequire(import.meta.url);
const Minio = require('minio');

const endpoint = new URL(process.env.AWS_ENDPOINT_URL);
const client = new Minio.Client({ endPoint: endpoint.hostname, port: Number(endpoint.port), useSSL: false,
  accessKey: process.env.AWS_ACCESS_KEY_ID, secretKey: process.env.AWS_SECRET_ACCESS_KEY, region: process.env.AWS_REGION,
  partSize: 5 * 1024 * 1024 });
const bytes = (seed, size) => createHash('shake256', { outputLength: size }).update(seed).digest();
const bucket = 'minio-js';
const read = async (key, options) => buffer(await client.getObject(bucket, key, options));
const keys = async (recursive) => (await client.listObjectsV2(bucket, '', recursive).toArray())
  .map((entry) => entry.name ?? entry.prefix);

await client.makeBucket(bucket);
assert.equal(await client.bucketExists(bucket), true);
assert.equal(await client.bucketExists('minio-js-absent'), false);
for (const size of [0, 1, 8193, 1048577]) {
  const data = bytes(`size ${size}`, size);
  await client.putObject(bucket, `size/${size}`, data, size, { 'X-Amz-Meta-Size': `${size}` });
  assert.ok((await read(`size/${size}`)).equals(data), `size ${size}`);
  const stat = await client.statObject(bucket, `size/${size}`);
  assert.equal(stat.size, size);
  assert.equal(stat.metaData.size, `${size}`);
}

// Of unknown length, so in parts.
const large = bytes('large', 17 * 1024 * 1024 + 3);
await client.putObject(bucket, 'large ü', Readable.from([large.subarray(0, 999), large.subarray(999)]));
assert.ok((await read('large ü')).equals(large), 'multipart upload');
assert.ok((await buffer(await client.getPartialObject(bucket, 'large ü', 5242870, 20)))
  .equals(large.subarray(5242870, 5242890)));
await client.copyObject(bucket, 'copy', `/${bucket}/large ü`);
assert.ok((await read('copy')).equals(large), 'copy');
assert.deepEqual(await keys(false), ['copy', 'large ü', 'size/']);

await client.setObjectTagging(bucket, 'copy', { kind: 'a b' });
assert.deepEqual(await client.getObjectTagging(bucket, 'copy'), [{ Key: 'kind', Value: 'a b' }]);
const signed = await fetch(await client.presignedGetObject(bucket, 'copy', 60));
assert.ok(Buffer.from(await signed.arrayBuffer()).equals(large), 'presigned');
const put = await fetch(await client.presignedPutObject(bucket, 'by url', 60), { method: 'PUT', body: 'by url' });
assert.equal(put.status, 200);
assert.equal((await read('by url')).toString(), 'by url');

await client.setBucketVersioning(bucket, { Status: 'Enabled' });
const first = (await client.putObject(bucket, 'v', 'first')).versionId;
await client.putObject(bucket, 'v', 'second');
await client.removeObject(bucket, 'v');
await assert.rejects(client.statObject(bucket, 'v'), { code: 'NotFound' });
assert.equal((await read('v', { versionId: first })).toString(), 'first');
await assert.rejects(client.removeBucket(bucket), { code: 'BucketNotEmpty' });

const versions = await client.listObjects(bucket, '', true, { IncludeVersion: true }).toArray();
await client.removeObjects(bucket, versions.map(({ name, versionId }) => ({ name, versionId })));
await client.removeBucket(bucket);
console.log('ok');
