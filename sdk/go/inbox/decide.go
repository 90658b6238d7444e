package inbox

import (
	"context"
	"database/sql"
	"encoding/json"

	"github.com/goconductor/goconductor/sdk/go"
	"github.com/goconductor/goconductor/sdk/go/internal/sqldb"
)

// record is the record of a step.
type record struct {
	done, undone bool
	output, undo sql.NullString
}

func (i *Inbox) begin(
	ctx context.Context, tx *sql.Tx, key string, operation goconductor.Operation,
) (Decision, error) {
	step, err := StepOf(key, operation)
	if err != nil {
		return Decision{}, err
	}
	if i.dialect == sqldb.Postgres {
		var verdict string
		var output sql.NullString
		query := "SELECT verdict, output FROM goconductor_inbox_" + string(operation) + "($1)"
		err := tx.QueryRowContext(ctx, query, key).Scan(&verdict, &output)
		return Decision{Verdict: Verdict(verdict), Output: text(output)}, err
	}
	known, err := i.lock(ctx, tx, step)
	if err != nil {
		return Decision{}, err
	}
	decision := decide(known, operation)
	if decision.Verdict == Nothing {
		// The record refuses an execute that arrives later.
		_, err = tx.ExecContext(ctx, "UPDATE goconductor_inbox SET undone = TRUE WHERE step = ?", step)
	}
	return decision, err
}

// decide returns the decision on a request by the record of its step.
func decide(known record, operation goconductor.Operation) Decision {
	switch {
	case operation == goconductor.Execute && known.undone:
		return Decision{Verdict: Undone}
	case operation == goconductor.Execute && known.done:
		return Decision{Verdict: Repeat, Output: text(known.output)}
	case operation == goconductor.Execute:
		return Decision{Verdict: First}
	case known.undone:
		return Decision{Verdict: Repeat, Output: text(known.undo)}
	case known.done:
		return Decision{Verdict: First, Output: text(known.output)}
	default:
		return Decision{Verdict: Nothing}
	}
}

// lock creates the record of a step if it does not exist, and locks it. The insert comes first, so that SQLite locks the
// database for the whole decision, and so that two transactions of MySQL cannot wait for each other.
func (i *Inbox) lock(ctx context.Context, tx *sql.Tx, step string) (record, error) {
	// MariaDB reserves the word undo. SQLite accepts its quotes.
	insert := "INSERT INTO goconductor_inbox (step) VALUES (?) ON CONFLICT DO NOTHING"
	query := "SELECT done, output, undone, `undo` FROM goconductor_inbox WHERE step = ?"
	if i.dialect == sqldb.MySQL {
		insert = "INSERT INTO goconductor_inbox (step) VALUES (?) ON DUPLICATE KEY UPDATE step = step"
		query += " FOR UPDATE"
	}
	var known record
	if _, err := tx.ExecContext(ctx, insert, step); err != nil {
		return known, err
	}
	err := tx.QueryRowContext(ctx, query, step).Scan(&known.done, &known.output, &known.undone, &known.undo)
	return known, err
}

func (i *Inbox) finish(
	ctx context.Context, tx *sql.Tx, key string, operation goconductor.Operation, output json.RawMessage,
) error {
	step, err := StepOf(key, operation)
	if err != nil {
		return err
	}
	if len(output) == 0 {
		output = json.RawMessage("null")
	}
	if i.dialect == sqldb.Postgres {
		function := map[goconductor.Operation]string{goconductor.Execute: "done", goconductor.Compensate: "undone"}
		_, err := tx.ExecContext(ctx, "SELECT goconductor_inbox_"+function[operation]+"($1, $2)", key, string(output))
		return err
	}
	statement := "UPDATE goconductor_inbox SET done = TRUE, output = ? WHERE step = ?"
	if operation == goconductor.Compensate {
		statement = "UPDATE goconductor_inbox SET undone = TRUE, `undo` = ? WHERE step = ?"
	}
	_, err = tx.ExecContext(ctx, statement, string(output), step)
	return err
}

func text(value sql.NullString) json.RawMessage {
	if !value.Valid {
		return json.RawMessage("null")
	}
	return json.RawMessage(value.String)
}
