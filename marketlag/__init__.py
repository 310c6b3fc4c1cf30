"""MarketLag: the hours in which the news moved and the market's price had not."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from marketlag.engine.app import App

    app: App

__version__ = "0.1.0"
__all__ = ["__version__", "app"]


def __getattr__(name: str) -> Any:
    # ``faust -A marketlag`` looks for ``marketlag.app``. It is built on demand, so that the pure
    # rules can be imported without Faust, Kafka or settings.
    if name == "app":
        from marketlag.application import app

        return app
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
