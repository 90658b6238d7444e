//! The names of the queues.

/// Queue that carries commands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum QueueBackend {
    /// A queue in this process.
    Memory,
    /// Kafka.
    Kafka,
    /// Amazon Kinesis.
    Kinesis,
    /// NATS JetStream.
    Nats,
    /// RabbitMQ.
    RabbitMq,
}

impl QueueBackend {
    /// All queues, by name.
    pub const ALL: &[(&str, Self)] = &[
        ("memory", Self::Memory),
        ("kafka", Self::Kafka),
        ("kinesis", Self::Kinesis),
        ("nats", Self::Nats),
        ("rabbitmq", Self::RabbitMq),
    ];

    /// Returns the name in the configuration.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Kafka => "kafka",
            Self::Kinesis => "kinesis",
            Self::Nats => "nats",
            Self::RabbitMq => "rabbitmq",
        }
    }
}
