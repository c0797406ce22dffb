"""Bytes behind a path or a URL: folders, buckets, durable writes, and unfinished files."""
