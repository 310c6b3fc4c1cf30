"""The dashboards as code. ``python -m deploy.grafana`` (``make dashboards``) writes their JSON.

Built with Grafana's own library, whose classes are generated from the schema of its dashboards.
"""
