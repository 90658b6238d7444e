package main

import (
	"context"
	"database/sql"
	"encoding/json"

	_ "github.com/mattn/go-sqlite3"

	"github.com/goconductor/goconductor/sdk/go"
	"github.com/goconductor/goconductor/sdk/go/inbox"
)

// box is the database of the participant, with its inbox and its effects.
type box struct {
	db     *sql.DB
	inbox  *inbox.Inbox
	broken string
}

const effectsTable = `CREATE TABLE IF NOT EXISTS effects (
	seq INTEGER PRIMARY KEY, step TEXT NOT NULL, operation TEXT NOT NULL)`

func openBox(ctx context.Context, file, broken string) (*box, error) {
	db, err := sql.Open("sqlite3", "file:"+file+"?_busy_timeout=30000&_journal_mode=WAL")
	if err != nil {
		return nil, err
	}
	opened := &box{db: db, inbox: inbox.SQLite(db), broken: broken}
	if err := opened.inbox.Migrate(ctx); err != nil {
		return nil, err
	}
	_, err = db.ExecContext(ctx, effectsTable)
	return opened, err
}

// run records the effect of an attempt through the inbox.
func (b *box) run(ctx context.Context, key string, step inboxStep) (json.RawMessage, error) {
	attempt := goconductor.AttemptOf(ctx)
	record := func(tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, "INSERT INTO effects (step, operation) VALUES (?, ?)",
			attempt.Step(), attempt.Operation())
		return err
	}
	var output json.RawMessage
	var err error
	if attempt.Operation() == goconductor.Execute {
		output, err = b.inbox.Do(ctx, key, func(tx *sql.Tx) (any, error) { return step.Output, record(tx) })
	} else {
		output = json.RawMessage("null")
		err = b.inbox.Undo(ctx, key, func(tx *sql.Tx, _ json.RawMessage) error { return record(tx) })
		if b.broken == "inbox-without-tombstone" {
			_, _ = b.db.ExecContext(ctx, "DELETE FROM goconductor_inbox WHERE undone AND NOT done")
		}
	}
	if err == nil && step.Die {
		die()
	}
	if err == nil && step.Answer == "lost" {
		return nil, goconductor.Unknown("LOST", "the response was lost")
	}
	return output, err
}

// effects returns the effects, in order.
func (b *box) effects(ctx context.Context) ([]map[string]any, error) {
	rows, err := b.db.QueryContext(ctx, "SELECT step, operation FROM effects ORDER BY seq")
	if err != nil {
		return nil, err
	}
	defer func() { _ = rows.Close() }()
	effects := []map[string]any{}
	for rows.Next() {
		var step, operation string
		if err := rows.Scan(&step, &operation); err != nil {
			return nil, err
		}
		effects = append(effects, map[string]any{"step": step, "operation": operation})
	}
	return effects, rows.Err()
}
