"""A broker and a database from wheels, for trying and testing. Production is a real Kafka."""
