// Package sqldb has what the packages inbox and outbox share: dialects, migrations and JSON.
package sqldb

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"strings"
	"time"

	"github.com/goconductor/goconductor/sdk/go"
)

// Dialect is a dialect of SQL.
type Dialect int

// The supported databases.
const (
	Postgres Dialect = iota + 1
	MySQL
	SQLite
)

// migrationLock is the key of the advisory lock of PostgreSQL under which one process at a time migrates. All inboxes use
// the same number.
const migrationLock int64 = 0x676f_636f_696e_626f

// migrationPatience is the time for which a locked SQLite database is tried.
const migrationPatience = 10 * time.Second

// Migrate runs a script that can be repeated. Concurrent calls are safe.
func Migrate(ctx context.Context, db *sql.DB, dialect Dialect, script string) error {
	switch dialect {
	case SQLite:
		return migrateSQLite(ctx, db, script)
	case MySQL:
		_, err := db.ExecContext(ctx, script)
		return err
	}
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback() }()
	lock, key := LockMigrations()
	if _, err := tx.ExecContext(ctx, lock, key); err != nil {
		return err
	}
	if _, err := tx.ExecContext(ctx, script); err != nil {
		return err
	}
	return tx.Commit()
}

// migrateSQLite repeats the script while the database is locked. SQLite does not wait for the busy timeout if two connections
// change the journal mode of a new database at once: each would wait for the other.
func migrateSQLite(ctx context.Context, db *sql.DB, script string) error {
	deadline := time.Now().Add(migrationPatience)
	for {
		_, err := db.ExecContext(ctx, script)
		// The drivers of SQLite have no error type in common. The message is that of SQLite itself.
		locked := err != nil && strings.Contains(err.Error(), "database is locked")
		if !locked || time.Now().After(deadline) {
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// LockMigrations is the statement that Migrate runs first on PostgreSQL, and its argument.
func LockMigrations() (string, int64) { return "SELECT pg_advisory_xact_lock($1)", migrationLock }

// Encode converts an output to JSON, without the escapes of HTML.
func Encode(output any) (json.RawMessage, error) {
	var buffer bytes.Buffer
	encoder := json.NewEncoder(&buffer)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(output); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(buffer.Bytes(), []byte("\n")), nil
}

// Stored converts a stored output to the type of an action. Numbers of untyped values keep their digits. An output of
// another form has the code STORED_OUTPUT.
func Stored(text json.RawMessage, output any) error {
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.UseNumber()
	if err := decoder.Decode(output); err != nil {
		message := "the inbox has an output of another form: " + err.Error()
		return goconductor.Unknown("STORED_OUTPUT", message).WithCause(err)
	}
	return nil
}

// KeyOf returns the idempotency key of the attempt of a context.
func KeyOf(ctx context.Context) (string, error) {
	attempt := goconductor.AttemptOf(ctx)
	if attempt == nil {
		return "", errors.New("the context is not that of an action: use Do or Undo with a key")
	}
	return attempt.Key(), nil
}
