//! The metrics of queues.

goconductor_telemetry::metrics! {
    histogram PUBLISH_DURATION("goconductor_queue_publish_seconds", Seconds, [],
        "Duration of a publish to a broker, successful or not.");
    counter PUBLISHED("goconductor_queue_published_total", Count, ["topic"],
        "Messages published to a broker.");
    counter PUBLISH_ERRORS("goconductor_queue_publish_errors_total", Count, [],
        "Failed publishes. The dispatch ledger publishes their messages later.");
    counter RECEIVED("goconductor_queue_taken_total", Count, ["topic"],
        "Messages received from a broker.");
    gauge LAG("goconductor_queue_lag", Count, ["topic"],
        "Messages that wait at a broker, as last sampled by this process.");
    counter CONSUMER_ERRORS("goconductor_queue_consumer_errors_total", Count, [],
        "Consumers that failed and were replaced.");
    counter CONNECTIONS("goconductor_queue_connections_total", Count, [],
        "Connections opened to NATS or RabbitMQ. The value rises when connections break.");
    counter THROTTLED("goconductor_queue_throttled_total", Count, ["call"],
        "Calls that Kinesis throttled, in whole or in part.");
}
