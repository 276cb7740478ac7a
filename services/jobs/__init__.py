"""Jobs: their life cycle, what users ask of them, and how slots run them.

The SQL database is the truth. A message on the broker only wakes a worker slot; it may be
lost or doubled without harm.
"""
