import static java.nio.charset.StandardCharsets.UTF_8;

import java.io.ByteArrayInputStream;
import java.net.HttpURLConnection;
import java.net.URI;
import java.net.URL;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Random;
import java.util.stream.Stream;
import software.amazon.awssdk.core.retry.RetryPolicy;
import software.amazon.awssdk.core.sync.RequestBody;
import software.amazon.awssdk.http.urlconnection.UrlConnectionHttpClient;
import software.amazon.awssdk.services.s3.S3Client;
import software.amazon.awssdk.services.s3.S3Configuration;
import software.amazon.awssdk.services.s3.model.BucketVersioningStatus;
import software.amazon.awssdk.services.s3.model.ChecksumAlgorithm;
import software.amazon.awssdk.services.s3.model.ChecksumMode;
import software.amazon.awssdk.services.s3.model.CompletedPart;
import software.amazon.awssdk.services.s3.model.GetObjectRequest;
import software.amazon.awssdk.services.s3.model.NoSuchKeyException;
import software.amazon.awssdk.services.s3.model.ObjectIdentifier;
import software.amazon.awssdk.services.s3.model.PutObjectRequest;
import software.amazon.awssdk.services.s3.model.S3Exception;
import software.amazon.awssdk.services.s3.presigner.S3Presigner;

/**
 * The AWS SDK for Java v2 against a gateway; what it reads is compared byte by byte.
 *
 * <p>Run with the AWS_* variables of credentials.env.
 */
public final class SdkJava {
    private static final String BUCKET = "java-sdk";
    private static final int MIB = 1 << 20;

    private final S3Client s3 = S3Client.builder()
            .endpointOverride(URI.create(System.getenv("AWS_ENDPOINT_URL")))
            .serviceConfiguration(S3Configuration.builder().pathStyleAccessEnabled(true).build())
            .httpClient(UrlConnectionHttpClient.create())
            .overrideConfiguration(override -> override.retryPolicy(RetryPolicy.none()))
            .build();

    public static void main(String[] arguments) throws Exception {
        SdkJava suite = new SdkJava();
        suite.s3.createBucket(request -> request.bucket(BUCKET));
        suite.sizes();
        suite.multipart();
        suite.checksums();
        suite.conditions();
        suite.presigned();
        suite.listing();
        suite.versions();
        suite.empty();
        System.out.println("ok");
    }

    private void sizes() {
        for (int size : new int[] {0, 1, 8192, 8193, MIB + 1}) {
            put("size/" + size, noise(size, size));
            ensure(Arrays.equals(read("size/" + size), noise(size, size)), size + " bytes came back different");
        }
        String odd = "ünï code/+ %2F?&=\"'/☃";
        put(odd, odd.getBytes(UTF_8));
        ensure(new String(read(odd), UTF_8).equals(odd), "the odd key came back different");
        // A stream, whose checksum is only known at its end: it goes in chunks with a trailer.
        byte[] streamed = noise(7, 3 * MIB + 7);
        s3.putObject(target("streamed").build(),
                RequestBody.fromInputStream(new ByteArrayInputStream(streamed), streamed.length));
        ensure(Arrays.equals(read("streamed"), streamed), "the stream came back different");
    }

    private void multipart() {
        byte[] data = noise(1, 17 * MIB + 3);
        String upload = s3.createMultipartUpload(request -> request.bucket(BUCKET).key("large")).uploadId();
        List<CompletedPart> parts = new ArrayList<>();
        for (int start = 0; start < data.length; start += 5 * MIB) {
            int number = parts.size() + 1;
            byte[] part = Arrays.copyOfRange(data, start, Math.min(start + 5 * MIB, data.length));
            String etag = s3.uploadPart(
                    request -> request.bucket(BUCKET).key("large").uploadId(upload).partNumber(number),
                    RequestBody.fromBytes(part)).eTag();
            parts.add(CompletedPart.builder().partNumber(number).eTag(etag).build());
        }
        s3.completeMultipartUpload(request -> request.bucket(BUCKET).key("large").uploadId(upload)
                .multipartUpload(completed -> completed.parts(parts)));
        ensure(Arrays.equals(read("large"), data), "the upload came back different");
        byte[] range = s3.getObjectAsBytes(source("large").range("bytes=5242870-5242890").build()).asByteArray();
        ensure(Arrays.equals(range, Arrays.copyOfRange(data, 5242870, 5242891)), "the range came back different");
        s3.copyObject(request -> request.sourceBucket(BUCKET).sourceKey("large").destinationBucket(BUCKET)
                .destinationKey("copy"));
        ensure(Arrays.equals(read("copy"), data), "the copy came back different");
    }

    private void checksums() {
        List<ChecksumAlgorithm> algorithms = List.of(ChecksumAlgorithm.CRC32, ChecksumAlgorithm.CRC32_C,
                ChecksumAlgorithm.SHA1, ChecksumAlgorithm.SHA256);
        for (ChecksumAlgorithm algorithm : algorithms) {
            s3.putObject(target("sum/" + algorithm).checksumAlgorithm(algorithm).build(),
                    RequestBody.fromBytes(noise(2, 300_000)));
            ensure(Arrays.equals(read("sum/" + algorithm), noise(2, 300_000)), algorithm + ": came back different");
        }
        refused("BadDigest", () -> s3.putObject(target("sum/bad").checksumCRC32("AAAAAA==").build(),
                RequestBody.fromString("data")));
    }

    private void conditions() {
        String etag = put("state", "one".getBytes(UTF_8));
        refused("PreconditionFailed", () -> s3.putObject(target("state").ifNoneMatch("*").build(),
                RequestBody.fromString("two")));
        s3.putObject(target("state").ifMatch(etag).build(), RequestBody.fromString("two"));
        ensure(new String(read("state"), UTF_8).equals("two"), "the conditional write is not there");
        try {
            read("absent");
            throw new AssertionError("an absent key was read");
        } catch (NoSuchKeyException expected) {
            ensure(expected.statusCode() == 404, "status " + expected.statusCode());
        }
    }

    private void presigned() throws Exception {
        S3Presigner presigner = S3Presigner.builder()
                .endpointOverride(URI.create(System.getenv("AWS_ENDPOINT_URL")))
                .serviceConfiguration(S3Configuration.builder().pathStyleAccessEnabled(true).build())
                .build();
        URL url = presigner.presignGetObject(presign -> presign.signatureDuration(Duration.ofMinutes(1))
                .getObjectRequest(request -> request.bucket(BUCKET).key("state"))).url();
        HttpURLConnection connection = (HttpURLConnection) url.openConnection();
        String body = new String(connection.getInputStream().readAllBytes(), UTF_8);
        ensure(connection.getResponseCode() == 200 && body.equals("two"), "presigned: " + body);
        presigner.close();
    }

    private void listing() {
        List<String> keys = s3.listObjectsV2Paginator(request -> request.bucket(BUCKET).prefix("s").maxKeys(3))
                .contents().stream().map(object -> object.key()).toList();
        List<String> expected = List.of("size/0", "size/1", "size/1048577", "size/8192", "size/8193", "state",
                "streamed", "sum/CRC32", "sum/CRC32C", "sum/SHA1", "sum/SHA256");
        ensure(keys.equals(expected), "listed " + keys);
    }

    private void versions() {
        s3.putBucketVersioning(request -> request.bucket(BUCKET)
                .versioningConfiguration(versioning -> versioning.status(BucketVersioningStatus.ENABLED)));
        String first = s3.putObject(target("v").build(), RequestBody.fromString("first")).versionId();
        put("v", "second".getBytes(UTF_8));
        s3.deleteObject(request -> request.bucket(BUCKET).key("v"));
        String old = s3.getObjectAsBytes(source("v").versionId(first).build()).asUtf8String();
        ensure(old.equals("first"), "the first version came back as " + old);
        refused("BucketNotEmpty", () -> s3.deleteBucket(request -> request.bucket(BUCKET)));
    }

    /** Deletes every version, then the bucket. */
    private void empty() {
        var listed = s3.listObjectVersions(request -> request.bucket(BUCKET));
        List<ObjectIdentifier> objects = Stream.concat(
                listed.versions().stream().map(version -> identifier(version.key(), version.versionId())),
                listed.deleteMarkers().stream().map(marker -> identifier(marker.key(), marker.versionId()))).toList();
        var answer = s3.deleteObjects(request -> request.bucket(BUCKET).delete(delete -> delete.objects(objects)));
        ensure(answer.deleted().size() == objects.size() && !answer.hasErrors(), "deleted " + answer);
        s3.deleteBucket(request -> request.bucket(BUCKET));
    }

    private static ObjectIdentifier identifier(String key, String version) {
        return ObjectIdentifier.builder().key(key).versionId(version).build();
    }

    private static PutObjectRequest.Builder target(String key) {
        return PutObjectRequest.builder().bucket(BUCKET).key(key);
    }

    private static GetObjectRequest.Builder source(String key) {
        return GetObjectRequest.builder().bucket(BUCKET).key(key).checksumMode(ChecksumMode.ENABLED);
    }

    private String put(String key, byte[] data) {
        return s3.putObject(target(key).build(), RequestBody.fromBytes(data)).eTag();
    }

    private byte[] read(String key) {
        return s3.getObjectAsBytes(source(key).build()).asByteArray();
    }

    private static byte[] noise(long seed, int size) {
        byte[] data = new byte[size];
        new Random(seed).nextBytes(data);
        return data;
    }

    private static void ensure(boolean holds, String message) {
        if (!holds) {
            throw new AssertionError(message);
        }
    }

    private static void refused(String code, Runnable call) {
        try {
            call.run();
        } catch (S3Exception error) {
            String got = error.awsErrorDetails().errorCode();
            ensure(got.equals(code), "expected " + code + ", got " + got);
            return;
        }
        throw new AssertionError("expected " + code + ", but it succeeded");
    }
}
