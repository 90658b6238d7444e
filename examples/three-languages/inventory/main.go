// The microservice inventory, in Go with PostgreSQL.
package main

import (
	"context"
	"database/sql"
	"log"
	"os"

	_ "github.com/jackc/pgx/v5/stdlib"

	"github.com/goconductor/goconductor/sdk/go"
	"github.com/goconductor/goconductor/sdk/go/inbox"
)

const tables = `
CREATE TABLE IF NOT EXISTS stock (sku TEXT PRIMARY KEY, available INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS reservations (order_id TEXT PRIMARY KEY, sku TEXT NOT NULL, state TEXT NOT NULL);
INSERT INTO stock VALUES ('book', 10) ON CONFLICT DO NOTHING`

// Order is the input of inventory/reserve.
type Order struct {
	OrderID string `json:"order_id"`
	SKU     string `json:"sku"`
}

// Reservation is the output of inventory/reserve.
type Reservation struct {
	SKU string `json:"sku"`
}

func main() {
	if err := run(context.Background()); err != nil {
		log.Fatal(err)
	}
}

func run(ctx context.Context) error {
	db, err := sql.Open("pgx", os.Getenv("INVENTORY_DATABASE_URL"))
	if err != nil {
		return err
	}
	defer func() { _ = db.Close() }()
	box := inbox.Postgres(db)
	if err := box.Migrate(ctx); err != nil {
		return err
	}
	if _, err := db.ExecContext(ctx, tables); err != nil {
		return err
	}
	client, err := goconductor.FromEnvironment()
	if err != nil {
		return err
	}
	defer func() { _ = client.Close() }()
	return client.Run(ctx, inventory(box))
}

func inventory(box *inbox.Inbox) *goconductor.Service {
	service := goconductor.NewService("inventory")
	reserve := func(ctx context.Context, order Order) (Reservation, error) {
		return inbox.Execute(ctx, box, func(tx *sql.Tx) (Reservation, error) {
			taken, err := tx.ExecContext(ctx,
				"UPDATE stock SET available = available - 1 WHERE sku = $1 AND available > 0", order.SKU)
			if err != nil {
				return Reservation{}, err
			}
			rows, err := taken.RowsAffected()
			if err != nil {
				return Reservation{}, err
			}
			if rows == 0 {
				return Reservation{}, goconductor.Refused("OUT_OF_STOCK", order.SKU+" is out of stock")
			}
			_, err = tx.ExecContext(ctx, "INSERT INTO reservations VALUES ($1, $2, 'reserved')", order.OrderID, order.SKU)
			return Reservation{SKU: order.SKU}, err
		})
	}
	release := func(ctx context.Context, undo goconductor.CompensationInput[Order, Reservation]) error {
		return inbox.Compensate(ctx, box, func(tx *sql.Tx, done Reservation) error {
			if _, err := tx.ExecContext(ctx, "UPDATE stock SET available = available + 1 WHERE sku = $1", done.SKU); err != nil {
				return err
			}
			_, err := tx.ExecContext(ctx, "UPDATE reservations SET state = 'released' WHERE order_id = $1", undo.Input.OrderID)
			return err
		})
	}
	goconductor.Pair(service, "reserve", reserve, "release", release)
	return service
}
