// Package testdb opens the databases of the tests of the packages inbox and outbox.
package testdb

import (
	"context"
	"crypto/rand"
	"database/sql"
	"os"
	"path/filepath"
	"strings"
	"testing"

	_ "github.com/go-sql-driver/mysql"
	_ "github.com/jackc/pgx/v5/stdlib"
	_ "github.com/mattn/go-sqlite3"
)

// PostgresURL returns the URL of the PostgreSQL server. It skips the test without one, unless services are required.
func PostgresURL(t *testing.T) string {
	t.Helper()
	return address(t, "GOCONDUCTOR_TEST_POSTGRES_URL")
}

// SQLite opens an empty database that is closed at the end of the test.
func SQLite(t *testing.T) *sql.DB {
	t.Helper()
	return open(t, "sqlite3", "file:"+filepath.Join(t.TempDir(), "participant.db")+"?_busy_timeout=30000&_journal_mode=WAL")
}

// Postgres opens an empty schema that is dropped at the end of the test. It skips the test without a server, unless
// services are required.
func Postgres(t *testing.T) *sql.DB {
	t.Helper()
	url := PostgresURL(t)
	name := create(t, "pgx", url, "SCHEMA", " CASCADE")
	joint := "?"
	if strings.Contains(url, "?") {
		joint = "&"
	}
	return open(t, "pgx", url+joint+"search_path="+name)
}

// MySQL opens an empty database that is dropped at the end of the test. It skips the test without a server, unless
// services are required.
func MySQL(t *testing.T) *sql.DB {
	t.Helper()
	source := address(t, "GOCONDUCTOR_TEST_MYSQL_DSN")
	name := create(t, "mysql", source, "DATABASE", "")
	before, after, _ := strings.Cut(source, "/")
	_, parameters, _ := strings.Cut(after, "?")
	return open(t, "mysql", before+"/"+name+"?"+parameters)
}

func address(t *testing.T, variable string) string {
	t.Helper()
	value := os.Getenv(variable)
	if value == "" && os.Getenv("GOCONDUCTOR_TEST_REQUIRE_SERVICES") == "1" {
		t.Fatalf("%s is not set", variable)
	}
	if value == "" {
		t.Skipf("%s is not set", variable)
	}
	return value
}

func open(t *testing.T, driver, source string) *sql.DB {
	t.Helper()
	db, err := sql.Open(driver, source)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	return db
}

// create creates a schema or a database that is dropped at the end of the test, and returns its name.
func create(t *testing.T, driver, source, kind, drop string) string {
	t.Helper()
	name := "test_" + strings.ToLower(rand.Text())
	db := open(t, driver, source)
	if _, err := db.ExecContext(t.Context(), "CREATE "+kind+" "+name); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = db.ExecContext(context.Background(), "DROP "+kind+" "+name+drop) })
	return name
}
