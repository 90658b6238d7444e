// Package pgxinbox is the package inbox for transactions of pgx, without database/sql.
package pgxinbox

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/goconductor/goconductor/sdk/go"
	"github.com/goconductor/goconductor/sdk/go/inbox"
	"github.com/goconductor/goconductor/sdk/go/internal/sqldb"
)

// rollbackTimeout is the timeout after which a connection is given up instead of rolling its transaction back.
const rollbackTimeout = 5 * time.Second

// Beginner begins transactions: a *pgxpool.Pool or a *pgx.Conn.
type Beginner interface {
	Begin(ctx context.Context) (pgx.Tx, error)
}

// Inbox is the inbox of a participant in a PostgreSQL database. It is as safe for concurrent use as its [Beginner].
type Inbox struct{ db Beginner }

// New returns an inbox.
func New(db Beginner) *Inbox { return &Inbox{db} }

// Migrate creates the missing objects of the inbox. Call it at every start. Concurrent calls are safe.
func (i *Inbox) Migrate(ctx context.Context) error {
	err := pgx.BeginFunc(ctx, i.db, func(tx pgx.Tx) error {
		lock, key := sqldb.LockMigrations()
		if _, err := tx.Exec(ctx, lock, key); err != nil {
			return err
		}
		_, err := tx.Exec(ctx, inbox.PostgresSQL)
		return err
	})
	if err != nil {
		return fmt.Errorf("failed to create the inbox: %w", err)
	}
	return nil
}

// Begin decides on a request in a transaction of the caller, like [inbox.Inbox.BeginExecute] and
// [inbox.Inbox.BeginCompensate].
func Begin(ctx context.Context, tx pgx.Tx, key string, operation goconductor.Operation) (inbox.Decision, error) {
	if _, err := inbox.StepOf(key, operation); err != nil {
		return inbox.Decision{}, err
	}
	var verdict string
	var output *string
	query := "SELECT verdict, output FROM goconductor_inbox_" + string(operation) + "($1)"
	if err := tx.QueryRow(ctx, query, key).Scan(&verdict, &output); err != nil {
		return inbox.Decision{}, err
	}
	decision := inbox.Decision{Verdict: inbox.Verdict(verdict), Output: json.RawMessage("null")}
	if output != nil {
		decision.Output = json.RawMessage(*output)
	}
	return decision, nil
}

// Finish records the output of a request, as JSON.
func Finish(
	ctx context.Context, tx pgx.Tx, key string, operation goconductor.Operation, output json.RawMessage,
) error {
	if _, err := inbox.StepOf(key, operation); err != nil {
		return err
	}
	if len(output) == 0 {
		output = json.RawMessage("null")
	}
	function := map[goconductor.Operation]string{goconductor.Execute: "done", goconductor.Compensate: "undone"}
	_, err := tx.Exec(ctx, "SELECT goconductor_inbox_"+function[operation]+"($1, $2)", key, string(output))
	return err
}

// Prune removes records that are older than a duration, see [inbox.Inbox.Prune].
func (i *Inbox) Prune(ctx context.Context, olderThan time.Duration) (removed int64, err error) {
	err = pgx.BeginFunc(ctx, i.db, func(tx pgx.Tx) error {
		query := "SELECT goconductor_inbox_prune(make_interval(secs => $1))"
		return tx.QueryRow(ctx, query, olderThan.Seconds()).Scan(&removed)
	})
	return removed, err
}

// Execute does the work of an action once, with the key of the attempt of the context, see [inbox.Execute].
func Execute[O any](ctx context.Context, i *Inbox, work func(tx pgx.Tx) (O, error)) (O, error) {
	var output O
	key, err := sqldb.KeyOf(ctx)
	if err != nil {
		return output, err
	}
	err = i.transact(ctx, func(tx pgx.Tx) (bool, error) {
		decision, err := Begin(ctx, tx, key, goconductor.Execute)
		switch {
		case err != nil:
			return false, rolledBack(err)
		case decision.Verdict == inbox.Repeat:
			return false, sqldb.Stored(decision.Output, &output)
		case decision.Verdict == inbox.Undone:
			return false, goconductor.Refused("UNDONE", "the step was compensated before it was executed")
		}
		if output, err = work(tx); err != nil {
			return false, err
		}
		text, err := sqldb.Encode(output)
		if err != nil {
			return false, goconductor.Unknown("BAD_OUTPUT", err.Error()).WithCause(err)
		}
		return true, rolledBack(Finish(ctx, tx, key, goconductor.Execute, text))
	})
	return output, err
}

// Compensate undoes the work of an action once, with the key of the attempt of the context, see [inbox.Compensate].
func Compensate[O any](ctx context.Context, i *Inbox, work func(tx pgx.Tx, output O) error) error {
	key, err := sqldb.KeyOf(ctx)
	if err != nil {
		return err
	}
	return i.transact(ctx, func(tx pgx.Tx) (bool, error) {
		decision, err := Begin(ctx, tx, key, goconductor.Compensate)
		switch {
		case err != nil:
			return false, rolledBack(err)
		case decision.Verdict == inbox.Repeat:
			return false, nil
		case decision.Verdict == inbox.Nothing:
			return true, nil
		}
		var output O
		if err := sqldb.Stored(decision.Output, &output); err != nil {
			return false, err
		}
		if err := work(tx, output); err != nil {
			return false, err
		}
		return true, rolledBack(Finish(ctx, tx, key, goconductor.Compensate, json.RawMessage("null")))
	})
}

// transact runs a function in a transaction, which is committed if the function requests it.
func (i *Inbox) transact(ctx context.Context, run func(tx pgx.Tx) (bool, error)) error {
	tx, err := i.db.Begin(ctx)
	if err != nil {
		return rolledBack(err)
	}
	defer func() {
		// Has no effect after a commit. The context may have ended.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), rollbackTimeout)
		defer cancel()
		_ = tx.Rollback(ctx)
	}()
	commit, err := run(tx)
	if err != nil || !commit {
		return err
	}
	if err := tx.Commit(ctx); err != nil {
		// The commit may have taken effect. The next attempt finds its record.
		return goconductor.Unknown("DATABASE", err.Error()).WithCause(err)
	}
	return nil
}

// rolledBack returns the error of a transaction that had no effect.
func rolledBack(err error) error {
	if err == nil || errors.Is(err, inbox.ErrKey) {
		return err
	}
	return goconductor.Retryable("DATABASE", err.Error()).WithCause(err)
}
