"""Replies kept in a folder by the digest of their requests: a second run with it makes no call."""
