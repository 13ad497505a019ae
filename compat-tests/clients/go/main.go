// The AWS SDK for Go v2 against a gateway; what it reads is compared byte by byte.
//
// Run with the AWS_* variables of credentials.env.
package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/feature/s3/manager"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/aws/smithy-go"
	"github.com/aws/smithy-go/logging"
)

const (
	bucket = "go-sdk"
	mib    = 1 << 20
)

func main() {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	loaded, err := config.LoadDefaultConfig(ctx, config.WithRetryMaxAttempts(1), config.WithLogger(logging.Nop{}))
	check(err, "the configuration")
	client := s3.NewFromConfig(loaded, func(options *s3.Options) { options.UsePathStyle = true })
	suite{ctx, client}.run()
	fmt.Println("ok")
}

type suite struct {
	ctx    context.Context
	client *s3.Client
}

func (s suite) run() {
	_, err := s.client.CreateBucket(s.ctx, &s3.CreateBucketInput{Bucket: aws.String(bucket)})
	check(err, "CreateBucket")
	s.sizes()
	s.largeObjects()
	s.checksums()
	s.conditions()
	s.presigned()
	s.listing()
	s.versions()
	s.empty()
}

// noise gives bytes that are the same for the same seed.
func noise(seed uint64, size int) []byte {
	data := make([]byte, size)
	source := rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8), byte(seed >> 16)})
	_, _ = source.Read(data)
	return data
}

func check(err error, what string) {
	if err != nil {
		log.Fatalf("%s: %v", what, err)
	}
}

func ensure(holds bool, format string, arguments ...any) {
	if !holds {
		log.Fatalf(format, arguments...)
	}
}

// refused ends the program unless err is the error of S3 with this code.
func refused(err error, code string) {
	var answer smithy.APIError
	ensure(errors.As(err, &answer) && answer.ErrorCode() == code, "expected %s, got %v", code, err)
}

func (s suite) put(key string, data []byte) *s3.PutObjectOutput {
	answer, err := s.client.PutObject(s.ctx, &s3.PutObjectInput{
		Bucket: aws.String(bucket), Key: aws.String(key), Body: bytes.NewReader(data)})
	check(err, "PutObject "+key)
	return answer
}

func (s suite) get(input *s3.GetObjectInput) []byte {
	input.Bucket = aws.String(bucket)
	input.ChecksumMode = types.ChecksumModeEnabled
	answer, err := s.client.GetObject(s.ctx, input)
	check(err, "GetObject "+*input.Key)
	defer func() { _ = answer.Body.Close() }()
	data, err := io.ReadAll(answer.Body)
	check(err, "reading "+*input.Key)
	return data
}

func (s suite) read(key string) []byte {
	return s.get(&s3.GetObjectInput{Key: aws.String(key)})
}

func (s suite) sizes() {
	for _, size := range []int{0, 1, 8192, 8193, mib + 1} {
		key := fmt.Sprintf("size/%d", size)
		s.put(key, noise(uint64(size), size))
		ensure(bytes.Equal(s.read(key), noise(uint64(size), size)), "%d bytes came back different", size)
	}
	odd := "ünï code/+ %2F?&=\"'/☃"
	s.put(odd, []byte(odd))
	ensure(string(s.read(odd)) == odd, "the odd key came back different")
}

func (s suite) largeObjects() {
	data := noise(1, 23*mib+5)
	uploader := manager.NewUploader(s.client, func(u *manager.Uploader) { u.PartSize = 5 * mib })
	// Of unknown length: only a reader.
	_, err := uploader.Upload(s.ctx, &s3.PutObjectInput{
		Bucket: aws.String(bucket), Key: aws.String("large"), Body: io.MultiReader(bytes.NewReader(data))})
	check(err, "Upload")
	ensure(bytes.Equal(s.read("large"), data), "the upload came back different")
	into := manager.NewWriteAtBuffer(nil)
	_, err = manager.NewDownloader(s.client, func(d *manager.Downloader) { d.PartSize = 4 * mib }).Download(
		s.ctx, into, &s3.GetObjectInput{Bucket: aws.String(bucket), Key: aws.String("large")})
	check(err, "Download")
	ensure(bytes.Equal(into.Bytes(), data), "the ranged download came back different")
	part := s.get(&s3.GetObjectInput{Key: aws.String("large"), Range: aws.String("bytes=5242870-5242890")})
	ensure(bytes.Equal(part, data[5242870:5242891]), "the range came back different")
	_, err = s.client.CopyObject(s.ctx, &s3.CopyObjectInput{
		Bucket: aws.String(bucket), Key: aws.String("copy"), CopySource: aws.String(bucket + "/large")})
	check(err, "CopyObject")
	ensure(bytes.Equal(s.read("copy"), data), "the copy came back different")
}

func (s suite) checksums() {
	for _, algorithm := range types.ChecksumAlgorithm("").Values() {
		switch algorithm {
		case types.ChecksumAlgorithmCrc32, types.ChecksumAlgorithmCrc32c, types.ChecksumAlgorithmSha1,
			types.ChecksumAlgorithmSha256, types.ChecksumAlgorithmCrc64nvme:
		default:
			continue
		}
		key := "sum/" + string(algorithm)
		_, err := s.client.PutObject(s.ctx, &s3.PutObjectInput{Bucket: aws.String(bucket), Key: aws.String(key),
			Body: bytes.NewReader(noise(2, 300_000)), ChecksumAlgorithm: algorithm})
		check(err, "PutObject with "+string(algorithm))
		ensure(bytes.Equal(s.read(key), noise(2, 300_000)), "%s: came back different", algorithm)
	}
	_, err := s.client.PutObject(s.ctx, &s3.PutObjectInput{Bucket: aws.String(bucket), Key: aws.String("sum/bad"),
		Body: strings.NewReader("data"), ChecksumCRC32: aws.String("AAAAAA==")})
	refused(err, "BadDigest")
}

func (s suite) conditions() {
	etag := s.put("state", []byte("one")).ETag
	_, err := s.client.PutObject(s.ctx, &s3.PutObjectInput{Bucket: aws.String(bucket), Key: aws.String("state"),
		Body: strings.NewReader("two"), IfNoneMatch: aws.String("*")})
	refused(err, "PreconditionFailed")
	_, err = s.client.PutObject(s.ctx, &s3.PutObjectInput{Bucket: aws.String(bucket), Key: aws.String("state"),
		Body: strings.NewReader("two"), IfMatch: etag})
	check(err, "PutObject with If-Match")
	ensure(string(s.read("state")) == "two", "the conditional write is not there")
	_, err = s.client.GetObject(s.ctx, &s3.GetObjectInput{Bucket: aws.String(bucket), Key: aws.String("absent")})
	var missing *types.NoSuchKey
	ensure(errors.As(err, &missing), "expected NoSuchKey, got %v", err)
}

func (s suite) presigned() {
	request, err := s3.NewPresignClient(s.client).PresignGetObject(s.ctx,
		&s3.GetObjectInput{Bucket: aws.String(bucket), Key: aws.String("state")})
	check(err, "PresignGetObject")
	answer, err := http.Get(request.URL)
	check(err, "the presigned URL")
	defer func() { _ = answer.Body.Close() }()
	data, err := io.ReadAll(answer.Body)
	check(err, "reading the presigned URL")
	ensure(answer.StatusCode == http.StatusOK && string(data) == "two", "%s: %s", answer.Status, data)
}

func (s suite) listing() {
	pages := s3.NewListObjectsV2Paginator(s.client, &s3.ListObjectsV2Input{
		Bucket: aws.String(bucket), Delimiter: aws.String("/"), MaxKeys: aws.Int32(2)})
	var found []string
	for pages.HasMorePages() {
		page, err := pages.NextPage(s.ctx)
		check(err, "ListObjectsV2")
		for _, object := range page.Contents {
			found = append(found, *object.Key)
		}
		for _, prefix := range page.CommonPrefixes {
			found = append(found, *prefix.Prefix)
		}
	}
	// Each page tells its keys before its prefixes.
	slices.Sort(found)
	listed := strings.Join(found, " ")
	ensure(listed == "copy large size/ state sum/ ünï code/", "listed %s", listed)
}

func (s suite) versions() {
	_, err := s.client.PutBucketVersioning(s.ctx, &s3.PutBucketVersioningInput{Bucket: aws.String(bucket),
		VersioningConfiguration: &types.VersioningConfiguration{Status: types.BucketVersioningStatusEnabled}})
	check(err, "PutBucketVersioning")
	first := s.put("v", []byte("first")).VersionId
	s.put("v", []byte("second"))
	_, err = s.client.DeleteObject(s.ctx, &s3.DeleteObjectInput{Bucket: aws.String(bucket), Key: aws.String("v")})
	check(err, "DeleteObject")
	old := s.get(&s3.GetObjectInput{Key: aws.String("v"), VersionId: first})
	ensure(string(old) == "first", "the first version came back as %q", old)
	_, err = s.client.DeleteBucket(s.ctx, &s3.DeleteBucketInput{Bucket: aws.String(bucket)})
	refused(err, "BucketNotEmpty")
}

// empty deletes every version, then the bucket.
func (s suite) empty() {
	listed, err := s.client.ListObjectVersions(s.ctx, &s3.ListObjectVersionsInput{Bucket: aws.String(bucket)})
	check(err, "ListObjectVersions")
	var objects []types.ObjectIdentifier
	for _, version := range listed.Versions {
		objects = append(objects, types.ObjectIdentifier{Key: version.Key, VersionId: version.VersionId})
	}
	for _, marker := range listed.DeleteMarkers {
		objects = append(objects, types.ObjectIdentifier{Key: marker.Key, VersionId: marker.VersionId})
	}
	answer, err := s.client.DeleteObjects(s.ctx, &s3.DeleteObjectsInput{
		Bucket: aws.String(bucket), Delete: &types.Delete{Objects: objects}})
	check(err, "DeleteObjects")
	ensure(len(answer.Deleted) == len(objects) && len(answer.Errors) == 0, "%d deleted, %v", len(answer.Deleted), answer.Errors)
	_, err = s.client.DeleteBucket(s.ctx, &s3.DeleteBucketInput{Bucket: aws.String(bucket)})
	check(err, "DeleteBucket")
}
