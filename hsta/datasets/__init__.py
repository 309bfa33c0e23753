"""Data sets: manifests, label sets, the demo's clips, and the Parquet shards of prepared clips."""
