"""What runs beside a worker, on the real thing: Prometheus, a managed database, the image."""
