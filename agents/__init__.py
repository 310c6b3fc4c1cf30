"""The agents, one file each, named for what they do. Each carries chunks to a rule and its outputs
to topics, and says how far the partition can be recovered.
"""
