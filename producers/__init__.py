"""Where articles and prices come from: fetch, parse, validate, publish.

None is written yet; ``marketlag replay`` writes the same records from files.
"""
