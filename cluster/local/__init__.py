"""A Ray cluster of several hosts and an S3 server on one Linux machine: what a real cluster does, with no account."""
