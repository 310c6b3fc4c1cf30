"""``marketlag worker``: Faust's own, with a help of ours and no banner in a log of JSON."""

from typing import Any

from faust.cli import worker as faust_worker


class worker(faust_worker.worker):  # noqa: N801 - a command is named for its class
    """Run the pipeline against the Kafka and Postgres of the settings.

    Metrics and health are served on MARKETLAG_WEB_PORT. SIGTERM lets it finish its work and commit.

    \b
    Examples:
      faust -A marketlag worker -l info
      marketlag worker -l info --web-port 6067
      MARKETLAG_LOG_FORMAT=json marketlag worker -l info --without-web
    """

    def on_worker_created(self, worker: Any) -> None:
        app: Any = self.app
        if app.prints_banner:
            super().on_worker_created(worker)
