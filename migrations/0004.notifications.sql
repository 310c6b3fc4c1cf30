-- Flagged hours that a channel was told of, or is to be told of again.
-- depends: 0003.price-hourly
CREATE TABLE notifications (
    channel      text        NOT NULL,
    market       text        NOT NULL,
    "window"     timestamptz NOT NULL,
    -- Nobody else tries before then: somebody is sending, or the channel has just failed.
    not_before   timestamptz NOT NULL,
    attempts     integer     NOT NULL,
    sent_at      timestamptz,
    created_at   timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (channel, market, "window")
);
