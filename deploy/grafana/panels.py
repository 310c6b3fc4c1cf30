"""Panels of two data sources: what Postgres keeps, and what Prometheus scrapes."""

import itertools
from typing import Any

from grafana_foundation_sdk.builders import (
    barchart,
    common,
    dashboard,
    histogram,
    prometheus,
    stat,
    table,
    timeseries,
    xychart,
)
from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.cog.variants import Dataquery
from grafana_foundation_sdk.models.common import (
    AxisPlacement,
    BigValueGraphMode,
    GraphDrawStyle,
    LegendDisplayMode,
    LegendPlacement,
    StackingMode,
    TooltipDisplayMode,
    VisibilityMode,
)
from grafana_foundation_sdk.models.dashboard import DataSourceRef, DynamicConfigValue, Threshold

#: As in ``provisioning/datasources/marketlag.yml``.
POSTGRES = DataSourceRef(type_val="grafana-postgresql-datasource", uid="marketlag-postgres")
PROMETHEUS = DataSourceRef(type_val="prometheus", uid="marketlag-prometheus")

FULL, HALF, THIRD, SIXTH = 24, 12, 8, 4
FLAG, CALM, PRICE = "red", "blue", "green"


class Sql(Dataquery, Builder[Dataquery]):
    """A query of Grafana's PostgreSQL data source, which its library has no class for."""

    def __init__(self, sql: str, kind: str) -> None:
        self._sql, self._kind = " ".join(sql.split()), kind

    def build(self) -> Dataquery:
        return self

    def to_json(self) -> dict[str, object]:
        return {
            "refId": "A",
            "datasource": POSTGRES,
            "format": self._kind,
            "rawQuery": True,
            "editorMode": "code",
            "rawSql": self._sql,
        }


def promql(expr: str, legend: str, ref: str = "A", *, instant: bool = False) -> Any:
    """A query of Prometheus; *legend* may hold ``{{label}}``."""
    query = (
        prometheus.Dataquery()
        .ref_id(ref)
        .datasource(PROMETHEUS)
        .expr(" ".join(expr.split()))
        .legend_format(legend)
    )
    return query.instant() if instant else query.range()


def _plain(panel: Any, title: str, description: str, width: int, height: int) -> Any:
    return panel.title(title).description(description).span(width).height(height)


def _one_number(title: str, description: str, unit: str) -> Any:
    panel = _plain(stat.Panel(), title, description, SIXTH, 5)
    newest = common.ReduceDataOptions().calcs(["lastNotNull"])
    return panel.unit(unit).graph_mode(BigValueGraphMode.NONE).reduce_options(newest)


def _legend(panel: Any) -> Any:
    return panel.legend(
        common.VizLegendOptions()
        .show_legend(True)
        .display_mode(LegendDisplayMode.LIST)
        .placement(LegendPlacement.BOTTOM)
    )


# --- Postgres


def sql_stat(title: str, description: str, sql: str, *, unit: str = "none") -> Any:
    """One number."""
    panel = _one_number(title, description, unit)
    return panel.datasource(POSTGRES).with_target(Sql(sql, "table"))


def sql_table(title: str, description: str, sql: str, *, width: int = FULL, height: int = 9) -> Any:
    """Rows as they come."""
    panel = _plain(table.Panel(), title, description, width, height)
    return panel.datasource(POSTGRES).with_target(Sql(sql, "table"))


def sql_histogram(title: str, description: str, sql: str, bucket: float) -> Any:
    """How often each range of the one column's values comes."""
    panel = _plain(histogram.Panel(), title, description, THIRD, 9)
    panel.datasource(POSTGRES).with_target(Sql(sql, "table")).bucket_size(bucket)
    return panel.fill_opacity(80)


def sql_bars(title: str, description: str, sql: str, category: str) -> Any:
    """A bar for each row's column *category*."""
    panel = _plain(barchart.Panel(), title, description, HALF, 9)
    return _legend(panel.datasource(POSTGRES).with_target(Sql(sql, "table")).x_field(category))


def sql_scatter(title: str, description: str, sql: str, colours: dict[str, str]) -> Any:
    """The first column against each of the others."""
    panel = _plain(xychart.Panel(), title, description, THIRD, 9)
    panel.datasource(POSTGRES).with_target(Sql(sql, "table"))
    for name, colour in colours.items():
        panel.override_by_name(name, [_colour(colour)])
    return _legend(panel)


def sql_series(
    title: str,
    description: str,
    sql: str,
    *,
    width: int = FULL,
    styles: dict[str, list[DynamicConfigValue]] | None = None,
) -> Any:
    """Columns over the column ``time``."""
    panel = _plain(timeseries.Panel(), title, description, width, 9)
    panel.datasource(POSTGRES).with_target(Sql(sql, "time_series")).line_width(2)
    for name, style in (styles or {}).items():
        panel.override_by_name(name, style)
    panel.tooltip(common.VizTooltipOptions().mode(TooltipDisplayMode.MULTI))
    return _legend(panel)


def _colour(name: str) -> DynamicConfigValue:
    return DynamicConfigValue("color", {"mode": "fixed", "fixedColor": name})


def line(colour: str, *, right: bool = False) -> list[DynamicConfigValue]:
    """A line, on an axis of its own if it is another unit."""
    placement = AxisPlacement.RIGHT if right else AxisPlacement.LEFT
    return [_colour(colour), DynamicConfigValue("custom.axisPlacement", placement)]


def bars(colour: str, *, stacked: bool = False) -> list[DynamicConfigValue]:
    mode = StackingMode.NORMAL if stacked else StackingMode.NONE
    return [
        _colour(colour),
        DynamicConfigValue("custom.drawStyle", GraphDrawStyle.BARS),
        DynamicConfigValue("custom.fillOpacity", 70),
        DynamicConfigValue("custom.stacking", {"mode": mode, "group": "A"}),
    ]


def marks(colour: str, *, right: bool = False) -> list[DynamicConfigValue]:
    """Points without a line between them."""
    return [
        *line(colour, right=right),
        DynamicConfigValue("custom.drawStyle", GraphDrawStyle.POINTS),
        DynamicConfigValue("custom.showPoints", VisibilityMode.ALWAYS),
        DynamicConfigValue("custom.pointSize", 10),
    ]


# --- Prometheus


def prom_stat(
    title: str, description: str, expr: str, *, unit: str = "none", bad_from: float | None = None
) -> Any:
    """One number now, red from *bad_from* on."""
    panel = _one_number(title, description, unit)
    panel.datasource(PROMETHEUS).with_target(promql(expr, "", instant=True))
    bad = [Threshold(value=bad_from, color="red")] if bad_from is not None else []
    steps = [Threshold(value=None, color="green"), *bad]
    return panel.thresholds(dashboard.ThresholdsConfig().steps(steps))


def prom_series(
    title: str, description: str, *queries: tuple[str, str], unit: str, width: int = THIRD
) -> Any:
    """Lines of queries, each with the legend of its series."""
    panel = _plain(timeseries.Panel(), title, description, width, 8)
    panel.datasource(PROMETHEUS).unit(unit).min(0)
    for ref, (expr, legend) in zip("ABCDEF", queries, strict=False):
        panel.with_target(promql(expr, legend, ref))
    panel.tooltip(common.VizTooltipOptions().mode(TooltipDisplayMode.MULTI))
    return _legend(panel)


Section = tuple[str, list[Any]]


def board(
    uid: str, title: str, description: str, since: str, sections: list[Section]
) -> dashboard.Dashboard:
    """A dashboard of titled rows of panels."""
    made = (
        dashboard.Dashboard(title)
        .uid(uid)
        .description(description)
        .tags(["marketlag"])
        .timezone("utc")
        .refresh("1m")
        .time(since, "now")
    )
    numbers = itertools.count(1)
    for name, panels in sections:
        made.with_row(dashboard.Row(name).id(next(numbers)))
        for panel in panels:
            made.with_panel(panel.id(next(numbers)))
    return made
