"""What faust-streaming lacks for exact results: a batched transport, positions, strict sends."""
