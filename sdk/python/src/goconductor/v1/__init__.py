"""The generated messages and clients of proto/goconductor/v1."""
