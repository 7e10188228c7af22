"""The wire without I/O: message types, encodings, framing, error codes, path URIs."""
