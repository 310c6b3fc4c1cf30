"""What runs beside a worker: containers, Prometheus with its alerts, Grafana's dashboards."""
