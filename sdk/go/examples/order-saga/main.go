// The services inventory, payments and shipping of examples/order-saga in Go: typed actions with their compensations, a
// database each, and an inbox in it.
//
//	go run ./examples/order-saga -service payments -data payments.db
package main

import (
	"context"
	"database/sql"
	"flag"
	"fmt"
	"log"

	_ "github.com/mattn/go-sqlite3"

	"github.com/goconductor/goconductor/sdk/go"
	"github.com/goconductor/goconductor/sdk/go/inbox"
)

const tables = `
CREATE TABLE IF NOT EXISTS stock (sku TEXT PRIMARY KEY, available INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS reservations (order_id TEXT PRIMARY KEY, sku TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS payments (order_id TEXT PRIMARY KEY, amount REAL NOT NULL);
CREATE TABLE IF NOT EXISTS parcels (order_id TEXT PRIMARY KEY, address TEXT NOT NULL);
INSERT OR IGNORE INTO stock VALUES ('book', 1000)`

func main() {
	name := flag.String("service", "payments", "inventory, payments or shipping")
	data := flag.String("data", "participant.db", "path of the SQLite database, which is created if it does not exist")
	flag.Parse()
	if err := run(context.Background(), *name, *data); err != nil {
		log.Fatal(err)
	}
}

func run(ctx context.Context, name, data string) error {
	db, err := sql.Open("sqlite3", "file:"+data+"?_busy_timeout=30000&_journal_mode=WAL")
	if err != nil {
		return err
	}
	defer func() { _ = db.Close() }()
	box := inbox.SQLite(db)
	if err := box.Migrate(ctx); err != nil {
		return err
	}
	if _, err := db.ExecContext(ctx, tables); err != nil {
		return err
	}
	services := map[string]func(*inbox.Inbox) *goconductor.Service{
		"inventory": inventory, "payments": payments, "shipping": shipping,
	}
	create, ok := services[name]
	if !ok {
		return fmt.Errorf("unknown service %q", name)
	}
	client, err := goconductor.FromEnvironment()
	if err != nil {
		return err
	}
	defer func() { _ = client.Close() }()
	return client.Run(ctx, create(box))
}
