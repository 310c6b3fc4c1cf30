"""The rules of the three jobs, without Faust and without Kafka.

Each is a function from (state, batch of log records) to outputs, so that a test is inputs and
exact rows. The agents carry records to them and outputs away.
"""
