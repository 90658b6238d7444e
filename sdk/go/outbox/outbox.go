// Package outbox emits events in the transaction of a participant, and publishes them afterwards.
//
// An event that is emitted in a transaction exists exactly if the transaction was committed:
//
//	inbox.Execute(ctx, box, func(tx *sql.Tx) (Receipt, error) {
//		…
//		_, err := events.Emit(ctx, tx, "order-paid", order)
//		return receipt, err
//	})
//
// [Outbox.Relay] publishes the events at least once. Pass the id along, so that a repeat is recognised. To start a workflow
// for each event:
//
//	events.Relay(ctx, func(ctx context.Context, event outbox.Event) error {
//		_, err := client.Start(ctx, event.Topic, goconductor.WithKey(event.ID), goconductor.WithInput(event.Payload))
//		return err
//	})
package outbox

import (
	"context"
	"crypto/rand"
	"database/sql"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/goconductor/goconductor/sdk/go/internal/sqldb"
)

// The migrations, for tools that apply them instead of [Outbox.Migrate]. They can be repeated.
var (
	//go:embed sql/postgres.sql
	PostgresSQL string
	//go:embed sql/mysql.sql
	MySQLSQL string
	//go:embed sql/sqlite.sql
	SQLiteSQL string
)

const (
	// batch is the maximum number of events that one transaction publishes.
	batch = 100
	// pollInterval is the interval at which a relay looks for events.
	pollInterval = 200 * time.Millisecond
	// maxRetryDelay is the longest delay after a failure.
	maxRetryDelay = 10 * time.Second
)

// Outbox is a table of events. It is safe for concurrent use.
type Outbox struct {
	db      *sql.DB
	dialect sqldb.Dialect
	logger  *slog.Logger
}

// Event is an event.
type Event struct {
	// ID is unique and the same for every publication of the event.
	ID string
	// Topic is the kind of the event.
	Topic string
	// Payload is JSON.
	Payload json.RawMessage
}

// Option is an option of an outbox.
type Option func(*Outbox)

// WithLogger sets the logger of failed publications (default: [slog.Default]).
func WithLogger(logger *slog.Logger) Option {
	return func(o *Outbox) { o.logger = logger }
}

func newOutbox(db *sql.DB, dialect sqldb.Dialect, options []Option) *Outbox {
	outbox := &Outbox{db: db, dialect: dialect, logger: slog.Default()}
	for _, option := range options {
		option(outbox)
	}
	return outbox
}

// Postgres returns an outbox in a PostgreSQL database.
func Postgres(db *sql.DB, options ...Option) *Outbox { return newOutbox(db, sqldb.Postgres, options) }

// MySQL returns an outbox in a database of MySQL 8, or of MariaDB 10.6 or later.
func MySQL(db *sql.DB, options ...Option) *Outbox { return newOutbox(db, sqldb.MySQL, options) }

// SQLite returns an outbox in an SQLite database.
func SQLite(db *sql.DB, options ...Option) *Outbox { return newOutbox(db, sqldb.SQLite, options) }

// Migrate creates the missing objects of the outbox. Call it at every start. Concurrent calls are safe.
func (o *Outbox) Migrate(ctx context.Context) error {
	script := map[sqldb.Dialect]string{
		sqldb.Postgres: PostgresSQL, sqldb.MySQL: MySQLSQL, sqldb.SQLite: SQLiteSQL,
	}[o.dialect]
	if err := sqldb.Migrate(ctx, o.db, o.dialect, script); err != nil {
		return fmt.Errorf("failed to create the outbox: %w", err)
	}
	return nil
}

// Emit adds an event in a transaction of the caller, and returns its id.
func (o *Outbox) Emit(ctx context.Context, tx *sql.Tx, topic string, payload any) (string, error) {
	text, err := sqldb.Encode(payload)
	if err != nil {
		return "", fmt.Errorf("the payload of an event of %s cannot be converted to JSON: %w", topic, err)
	}
	id := strings.ToLower(rand.Text())
	statement := "INSERT INTO goconductor_outbox (id, topic, payload) VALUES (?, ?, ?)"
	if o.dialect == sqldb.Postgres {
		statement = "INSERT INTO goconductor_outbox (id, topic, payload) VALUES ($1, $2, $3)"
	}
	_, err = tx.ExecContext(ctx, statement, id, topic, string(text))
	return id, err
}

// Relay publishes events until the context ends, whose error it returns. An event whose publication fails is published
// again later, and does not delay the others of its batch. Several relays can run at a time. On PostgreSQL and MySQL they
// share the events. On SQLite one works at a time, and other transactions wait until its batch is published, so that publish
// must be fast. Events of concurrent transactions are in no order.
func (o *Outbox) Relay(ctx context.Context, publish func(ctx context.Context, event Event) error) error {
	delay := pollInterval
	for {
		published, err := o.Flush(ctx, publish)
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case err != nil:
			o.logger.WarnContext(ctx, "outbox failed to publish events", "error", err)
			delay = min(2*delay, maxRetryDelay)
		case published == batch:
			delay = pollInterval
			continue
		default:
			delay = pollInterval
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(delay):
		}
	}
}

// Flush publishes at most 100 events, and returns the number of those that were published. The errors of the others are
// joined.
func (o *Outbox) Flush(ctx context.Context, publish func(ctx context.Context, event Event) error) (int, error) {
	options := &sql.TxOptions{}
	if o.dialect == sqldb.MySQL {
		// The default level would lock the gap after the last event, in which transactions insert theirs.
		options.Isolation = sql.LevelReadCommitted
	}
	tx, err := o.db.BeginTx(ctx, options)
	if err != nil {
		return 0, err
	}
	defer func() { _ = tx.Rollback() }()
	numbers, events, err := o.lock(ctx, tx)
	if err != nil {
		return 0, err
	}
	published := 0
	var failures []error
	for index, event := range events {
		if err := publish(ctx, event); err != nil {
			failures = append(failures, fmt.Errorf("event %s of %s: %w", event.ID, event.Topic, err))
			continue
		}
		if err := o.remove(ctx, tx, numbers[index]); err != nil {
			return 0, err
		}
		published++
	}
	if err := tx.Commit(); err != nil {
		return 0, err
	}
	return published, errors.Join(failures...)
}

// lock locks the oldest events and returns them with their numbers.
func (o *Outbox) lock(ctx context.Context, tx *sql.Tx) ([]int64, []Event, error) {
	query := fmt.Sprintf("SELECT seq, id, topic, payload FROM goconductor_outbox ORDER BY seq LIMIT %d", batch)
	if o.dialect == sqldb.SQLite {
		// A write locks the database, so that no other relay reads the same events.
		if _, err := tx.ExecContext(ctx, "UPDATE goconductor_outbox SET topic = topic WHERE seq < 0"); err != nil {
			return nil, nil, err
		}
	} else {
		query += " FOR UPDATE SKIP LOCKED"
	}
	rows, err := tx.QueryContext(ctx, query)
	if err != nil {
		return nil, nil, err
	}
	defer func() { _ = rows.Close() }()
	var numbers []int64
	var events []Event
	for rows.Next() {
		var number int64
		var event Event
		var payload string
		if err := rows.Scan(&number, &event.ID, &event.Topic, &payload); err != nil {
			return nil, nil, err
		}
		event.Payload = json.RawMessage(payload)
		numbers, events = append(numbers, number), append(events, event)
	}
	return numbers, events, rows.Err()
}

func (o *Outbox) remove(ctx context.Context, tx *sql.Tx, number int64) error {
	statement := "DELETE FROM goconductor_outbox WHERE seq = ?"
	if o.dialect == sqldb.Postgres {
		statement = "DELETE FROM goconductor_outbox WHERE seq = $1"
	}
	_, err := tx.ExecContext(ctx, statement, number)
	return err
}
