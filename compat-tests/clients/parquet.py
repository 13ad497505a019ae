"""Parquet files through pyarrow and DuckDB: what one wrote the other reads, each its own ranges of the file.

Run with the AWS_* variables of credentials.env.
"""

import hashlib
import os
import pathlib

import boto3
import duckdb
import duckdb_extension_httpfs
import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import fs

BUCKET = "parquet"
ROWS = 300_000
address = os.environ["AWS_ENDPOINT_URL"].removeprefix("http://")
s3 = boto3.client("s3")
arrow = fs.S3FileSystem(access_key=os.environ["AWS_ACCESS_KEY_ID"], secret_key=os.environ["AWS_SECRET_ACCESS_KEY"],
                        region=os.environ["AWS_REGION"], endpoint_override=address, scheme="http")


def load_httpfs(db):
    """Loads the extension from its package: nothing is fetched from DuckDB's own site."""
    package = pathlib.Path(duckdb_extension_httpfs.__file__).parent
    extension, = package.glob("extensions/*/httpfs.duckdb_extension")
    db.load_extension(str(extension))


def table(rows):
    """Rows whose text compresses to nothing less."""
    text = [hashlib.md5(str(number).encode()).hexdigest() for number in range(rows)]
    return pa.table({"number": pa.array(range(rows), pa.int64()), "text": text,
                     "part": pa.array([number % 3 for number in range(rows)], pa.int32())})


def pyarrow_reads_what_it_wrote(rows):
    with arrow.open_output_stream(f"{BUCKET}/one.parquet") as out:
        pq.write_table(rows, out, row_group_size=50_000)
    info = arrow.get_file_info(f"{BUCKET}/one.parquet")
    assert info.type == fs.FileType.File and info.size > 5 * 1024 * 1024, info
    assert pq.read_table(f"{BUCKET}/one.parquet", filesystem=arrow).equals(rows)
    with pq.ParquetFile(arrow.open_input_file(f"{BUCKET}/one.parquet")) as file:
        assert file.metadata.num_row_groups == 6
        group = file.read_row_group(3, columns=["text"])
        assert group.equals(rows.slice(150_000, 50_000).select(["text"]))
    raw = s3.get_object(Bucket=BUCKET, Key="one.parquet")["Body"].read()
    with arrow.open_input_file(f"{BUCKET}/one.parquet") as file:
        for offset in (0, 8, 1_000_003, len(raw) - 8):
            file.seek(offset)
            assert file.read(8) == raw[offset:offset + 8], offset


def pyarrow_writes_a_partitioned_dataset(rows):
    pq.write_to_dataset(rows, f"{BUCKET}/set", partition_cols=["part"], filesystem=arrow)
    found = pq.read_table(f"{BUCKET}/set", filesystem=arrow, filters=[("part", "=", 1)], columns=["number"])
    assert sorted(found["number"].to_pylist()) == list(range(1, ROWS, 3))
    selected = arrow.get_file_info(fs.FileSelector(f"{BUCKET}/set", recursive=True))
    assert sum(info.type == fs.FileType.File for info in selected) == 3, selected
    arrow.move(f"{BUCKET}/one.parquet", f"{BUCKET}/moved.parquet")
    assert arrow.get_file_info(f"{BUCKET}/one.parquet").type == fs.FileType.NotFound


def duckdb_reads_and_writes(rows):
    db = duckdb.connect()
    load_httpfs(db)
    db.execute(f"""CREATE SECRET (TYPE s3, KEY_ID '{os.environ["AWS_ACCESS_KEY_ID"]}',
        SECRET '{os.environ["AWS_SECRET_ACCESS_KEY"]}', REGION '{os.environ["AWS_REGION"]}', ENDPOINT '{address}',
        URL_STYLE 'path', USE_SSL false)""")
    moved = f"s3://{BUCKET}/moved.parquet"
    assert db.sql(f"SELECT count(*), sum(number) FROM '{moved}'").fetchone() == (ROWS, ROWS * (ROWS - 1) // 2)
    assert db.sql(f"SELECT text FROM '{moved}' WHERE number = 123456").fetchone() == (rows["text"][123_456].as_py(),)
    by_part = f"SELECT part, count(*) FROM read_parquet('s3://{BUCKET}/set/**/*.parquet', hive_partitioning = true) " \
              "GROUP BY part ORDER BY part"
    assert db.sql(by_part).fetchall() == [(part, ROWS // 3) for part in range(3)]
    db.execute(f"COPY (SELECT * FROM '{moved}' ORDER BY number) TO 's3://{BUCKET}/duck.parquet' (FORMAT parquet)")
    assert pq.read_table(f"{BUCKET}/duck.parquet", filesystem=arrow).cast(rows.schema).equals(rows)


s3.create_bucket(Bucket=BUCKET)
written = table(ROWS)
pyarrow_reads_what_it_wrote(written)
pyarrow_writes_a_partitioned_dataset(written)
duckdb_reads_and_writes(written)
arrow.delete_dir_contents(BUCKET)
s3.delete_bucket(Bucket=BUCKET)
print("ok")
