"""Where the protocol's rules meet a library that opens sockets."""
