// Package inbox deduplicates the requests to a participant, in the participant's own database transaction.
//
// The engine can send a request more than once with the same idempotency key, and a compensate can arrive before its
// execute. An [Inbox] records every request in the transaction that changes the participant's data:
//
//   - A repeated request returns the stored output and changes nothing.
//   - A compensate whose execute never arrived is recorded, and the execute is refused if it arrives later.
//   - A transaction that is rolled back leaves no record.
//
// In an action:
//
//	func charge(ctx context.Context, order Order) (Receipt, error) {
//		return inbox.Execute(ctx, box, func(tx *sql.Tx) (Receipt, error) {
//			_, err := tx.ExecContext(ctx, "INSERT INTO payments …")
//			return Receipt{…}, err
//		})
//	}
//
// In its compensation, the function receives the stored output. It is not called if the execute never arrived:
//
//	func refund(ctx context.Context, undo goconductor.CompensationInput[Order, Receipt]) error {
//		return inbox.Compensate(ctx, box, func(tx *sql.Tx, receipt Receipt) error {
//			_, err := tx.ExecContext(ctx, "DELETE FROM payments …")
//			return err
//		})
//	}
//
// The package pgxinbox has the same functions for transactions of pgx. Tables and decisions are those of the inboxes of the
// other languages, so that programs in several languages can share a database.
//
// Invariants: transactions for one step run one after another; no execute takes effect after its compensate; no operation
// takes effect twice, until [Inbox.Prune] removes its record.
package inbox

import (
	"context"
	"database/sql"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/goconductor/goconductor/sdk/go"
	"github.com/goconductor/goconductor/sdk/go/internal/sqldb"
)

// The migrations, for tools that apply them instead of [Inbox.Migrate]. They can be repeated.
var (
	//go:embed sql/postgres.sql
	PostgresSQL string
	//go:embed sql/mysql.sql
	MySQLSQL string
	//go:embed sql/sqlite.sql
	SQLiteSQL string
)

// Inbox is the inbox of a participant. It is safe for concurrent use.
type Inbox struct {
	db      *sql.DB
	dialect sqldb.Dialect
}

// Postgres returns an inbox in a PostgreSQL database, for example with the driver of pgx/stdlib.
func Postgres(db *sql.DB) *Inbox { return &Inbox{db, sqldb.Postgres} }

// MySQL returns an inbox in a MySQL or MariaDB database.
func MySQL(db *sql.DB) *Inbox { return &Inbox{db, sqldb.MySQL} }

// SQLite returns an inbox in an SQLite database. Set a busy timeout, so that transactions wait for each other.
func SQLite(db *sql.DB) *Inbox { return &Inbox{db, sqldb.SQLite} }

// Migrate creates the missing objects of the inbox. Call it at every start. Concurrent calls are safe.
func (i *Inbox) Migrate(ctx context.Context) error {
	script := map[sqldb.Dialect]string{
		sqldb.Postgres: PostgresSQL, sqldb.MySQL: MySQLSQL, sqldb.SQLite: SQLiteSQL,
	}[i.dialect]
	if err := sqldb.Migrate(ctx, i.db, i.dialect, script); err != nil {
		return fmt.Errorf("failed to create the inbox: %w", err)
	}
	return nil
}

// Verdict is the decision on a request.
type Verdict string

const (
	// First means a first request. Do the work, then record its output.
	First Verdict = "first"
	// Repeat means a repeated request. Do nothing, and respond with the stored output.
	Repeat Verdict = "repeat"
	// Undone means an execute that arrived after its compensate. Do nothing, and refuse it.
	Undone Verdict = "refused"
	// Nothing means a compensate whose execute never arrived and will be refused. There is nothing to undo.
	Nothing Verdict = "nothing"
)

// Decision is the decision on a request.
type Decision struct {
	Verdict Verdict
	// Output is JSON. For a repeat, it is the stored output. For the first compensate, it is the output of the execute.
	Output json.RawMessage
}

// BeginExecute decides on an execute in a transaction of the caller. It waits for other transactions of the same step.
func (i *Inbox) BeginExecute(ctx context.Context, tx *sql.Tx, key string) (Decision, error) {
	return i.begin(ctx, tx, key, goconductor.Execute)
}

// FinishExecute records the output of an execute, as JSON.
func (i *Inbox) FinishExecute(ctx context.Context, tx *sql.Tx, key string, output json.RawMessage) error {
	return i.finish(ctx, tx, key, goconductor.Execute, output)
}

// BeginCompensate decides on a compensate in a transaction of the caller. It waits for other transactions of the same
// step. The decision [Nothing] is recorded, so that the transaction must be committed.
func (i *Inbox) BeginCompensate(ctx context.Context, tx *sql.Tx, key string) (Decision, error) {
	return i.begin(ctx, tx, key, goconductor.Compensate)
}

// FinishCompensate records the output of a compensate, as JSON.
func (i *Inbox) FinishCompensate(ctx context.Context, tx *sql.Tx, key string, output json.RawMessage) error {
	return i.finish(ctx, tx, key, goconductor.Compensate, output)
}

// Prune removes records that are older than a duration, and returns their number. A request whose record was removed would
// take effect again, so that the duration must exceed the longest lifetime of a workflow. Thirty days suit most systems.
func (i *Inbox) Prune(ctx context.Context, olderThan time.Duration) (int64, error) {
	query := map[sqldb.Dialect]string{
		sqldb.Postgres: "DELETE FROM goconductor_inbox WHERE at < now() - make_interval(secs => $1)",
		sqldb.MySQL: "DELETE FROM goconductor_inbox " +
			"WHERE at < CURRENT_TIMESTAMP(6) - INTERVAL CAST(? * 1000000 AS SIGNED) MICROSECOND",
		sqldb.SQLite: "DELETE FROM goconductor_inbox WHERE at < strftime('%s', 'now') - ?",
	}[i.dialect]
	result, err := i.db.ExecContext(ctx, query, olderThan.Seconds())
	if err != nil {
		return 0, err
	}
	return result.RowsAffected()
}

// Do does the work of an execute once, and records its output in the same transaction. A repeated request returns the
// stored output. An execute that arrives after its compensate is refused with the code UNDONE. If work fails, its changes
// are rolled back, nothing is recorded, and its error is returned.
func (i *Inbox) Do(ctx context.Context, key string, work func(tx *sql.Tx) (any, error)) (json.RawMessage, error) {
	return i.transact(ctx, func(tx *sql.Tx) (json.RawMessage, bool, error) {
		decision, err := i.BeginExecute(ctx, tx, key)
		switch {
		case err != nil:
			return nil, false, undecided(err)
		case decision.Verdict == Repeat:
			return decision.Output, false, nil
		case decision.Verdict == Undone:
			return nil, false, goconductor.Refused("UNDONE", "the step was compensated before it was executed")
		}
		output, err := work(tx)
		if err != nil {
			return nil, false, err
		}
		text, err := sqldb.Encode(output)
		if err != nil {
			return nil, false, goconductor.Unknown("BAD_OUTPUT", err.Error()).WithCause(err)
		}
		if err := i.FinishExecute(ctx, tx, key, text); err != nil {
			return nil, false, rolledBack(err)
		}
		return text, true, nil
	})
}

// Undo undoes an execute once, and records this in the same transaction. work receives the output of the execute as JSON.
// It is not called if the execute never arrived. If it fails, its changes are rolled back, and its error is returned.
func (i *Inbox) Undo(ctx context.Context, key string, work func(tx *sql.Tx, output json.RawMessage) error) error {
	_, err := i.transact(ctx, func(tx *sql.Tx) (json.RawMessage, bool, error) {
		decision, err := i.BeginCompensate(ctx, tx, key)
		switch {
		case err != nil:
			return nil, false, undecided(err)
		case decision.Verdict == Repeat:
			return nil, false, nil
		case decision.Verdict == Nothing:
			return nil, true, nil
		}
		if err := work(tx, decision.Output); err != nil {
			return nil, false, err
		}
		if err := i.FinishCompensate(ctx, tx, key, json.RawMessage("null")); err != nil {
			return nil, false, rolledBack(err)
		}
		return nil, true, nil
	})
	return err
}

// Execute does the work of an action once, with the key of the attempt of the context, see [Inbox.Do].
func Execute[O any](ctx context.Context, i *Inbox, work func(tx *sql.Tx) (O, error)) (O, error) {
	var output O
	key, err := sqldb.KeyOf(ctx)
	if err != nil {
		return output, err
	}
	text, err := i.Do(ctx, key, func(tx *sql.Tx) (any, error) { return work(tx) })
	if err != nil {
		return output, err
	}
	err = sqldb.Stored(text, &output)
	return output, err
}

// Compensate undoes the work of an action once, with the key of the attempt of the context, see [Inbox.Undo].
func Compensate[O any](ctx context.Context, i *Inbox, work func(tx *sql.Tx, output O) error) error {
	key, err := sqldb.KeyOf(ctx)
	if err != nil {
		return err
	}
	return i.Undo(ctx, key, func(tx *sql.Tx, text json.RawMessage) error {
		var output O
		if err := sqldb.Stored(text, &output); err != nil {
			return err
		}
		return work(tx, output)
	})
}

// maxDeadlocks is the number of deadlocks after which a request is left to the next attempt.
const maxDeadlocks = 10

// errDeadlock is the error of a decision that the database ended. The work has not begun.
type errDeadlock struct{ error }

// undecided returns the error of a decision.
func undecided(err error) error {
	// MySQL reports a deadlock if several transactions wait for a new record whose transaction is rolled back.
	if strings.HasPrefix(err.Error(), "Error 1213 ") {
		return errDeadlock{err}
	}
	return rolledBack(err)
}

// transact runs a function in a transaction, which is committed if the function requests it. It repeats a decision that ended
// in a deadlock.
func (i *Inbox) transact(
	ctx context.Context, run func(tx *sql.Tx) (json.RawMessage, bool, error),
) (json.RawMessage, error) {
	for try := 1; ; try++ {
		output, err := i.once(ctx, run)
		var deadlock errDeadlock
		if !errors.As(err, &deadlock) {
			return output, err
		}
		if try == maxDeadlocks {
			return nil, rolledBack(deadlock.error)
		}
	}
}

func (i *Inbox) once(
	ctx context.Context, run func(tx *sql.Tx) (json.RawMessage, bool, error),
) (json.RawMessage, error) {
	tx, err := i.db.BeginTx(ctx, nil)
	if err != nil {
		return nil, rolledBack(err)
	}
	// Has no effect after a commit. A panic of the work is rolled back as well.
	defer func() { _ = tx.Rollback() }()
	output, commit, err := run(tx)
	if err != nil || !commit {
		return output, err
	}
	if err := tx.Commit(); err != nil {
		// The commit may have taken effect. The next attempt finds its record.
		return nil, goconductor.Unknown("DATABASE", err.Error()).WithCause(err)
	}
	return output, nil
}

// rolledBack returns the error of a transaction that had no effect.
func rolledBack(err error) error {
	if errors.Is(err, ErrKey) {
		return err
	}
	return goconductor.Retryable("DATABASE", err.Error()).WithCause(err)
}
