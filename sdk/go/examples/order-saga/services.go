package main

import (
	"context"
	"database/sql"

	"github.com/goconductor/goconductor/sdk/go"
	"github.com/goconductor/goconductor/sdk/go/inbox"
)

// Order is the input of the saga. A service reads the fields that it needs.
type Order struct {
	OrderID string  `json:"order_id"`
	SKU     string  `json:"sku"`
	Amount  float64 `json:"amount"`
	To      string  `json:"to"`
}

// Reservation is the output of inventory/reserve.
type Reservation struct {
	SKU string `json:"sku"`
}

// Payment is the output of payments/charge.
type Payment struct {
	PaymentID string `json:"payment_id"`
}

// Shipment is the output of shipping/ship.
type Shipment struct {
	Parcel string `json:"parcel"`
}

func inventory(box *inbox.Inbox) *goconductor.Service {
	service := goconductor.NewService("inventory")
	reserve := func(ctx context.Context, order Order) (Reservation, error) {
		return inbox.Execute(ctx, box, func(tx *sql.Tx) (Reservation, error) {
			taken, err := tx.ExecContext(ctx,
				"UPDATE stock SET available = available - 1 WHERE sku = ? AND available > 0", order.SKU)
			if err != nil {
				return Reservation{}, err
			}
			if rows, err := taken.RowsAffected(); err != nil || rows == 0 {
				return Reservation{}, goconductor.Refused("OUT_OF_STOCK", order.SKU+" is out of stock").WithCause(err)
			}
			_, err = tx.ExecContext(ctx, "INSERT INTO reservations VALUES (?, ?)", order.OrderID, order.SKU)
			return Reservation{SKU: order.SKU}, err
		})
	}
	release := func(ctx context.Context, undo goconductor.CompensationInput[Order, Reservation]) error {
		return inbox.Compensate(ctx, box, func(tx *sql.Tx, done Reservation) error {
			if _, err := tx.ExecContext(ctx, "UPDATE stock SET available = available + 1 WHERE sku = ?", done.SKU); err != nil {
				return err
			}
			_, err := tx.ExecContext(ctx, "DELETE FROM reservations WHERE order_id = ?", undo.Input.OrderID)
			return err
		})
	}
	goconductor.Pair(service, "reserve", reserve, "release", release)
	return service
}

// ANCHOR: payments
func payments(box *inbox.Inbox) *goconductor.Service {
	service := goconductor.NewService("payments")
	charge := func(ctx context.Context, order Order) (Payment, error) {
		if order.Amount > 10_000 {
			return Payment{}, goconductor.Refused("CREDIT_LIMIT", "the amount exceeds the credit limit")
		}
		return inbox.Execute(ctx, box, func(tx *sql.Tx) (Payment, error) {
			_, err := tx.ExecContext(ctx, "INSERT INTO payments VALUES (?, ?)", order.OrderID, order.Amount)
			return Payment{PaymentID: "payment-" + order.OrderID}, err
		})
	}
	refund := func(ctx context.Context, undo goconductor.CompensationInput[Order, Payment]) error {
		return inbox.Compensate(ctx, box, func(tx *sql.Tx, _ Payment) error {
			_, err := tx.ExecContext(ctx, "DELETE FROM payments WHERE order_id = ?", undo.Input.OrderID)
			return err
		})
	}
	goconductor.Pair(service, "charge", charge, "refund", refund)
	return service
}

// ANCHOR_END: payments

func shipping(box *inbox.Inbox) *goconductor.Service {
	service := goconductor.NewService("shipping")
	ship := func(ctx context.Context, order Order) (Shipment, error) {
		if order.To == "nowhere" {
			return Shipment{}, goconductor.Refused("UNKNOWN_ADDRESS", "no carrier delivers to nowhere")
		}
		return inbox.Execute(ctx, box, func(tx *sql.Tx) (Shipment, error) {
			_, err := tx.ExecContext(ctx, "INSERT INTO parcels VALUES (?, ?)", order.OrderID, order.To)
			return Shipment{Parcel: "parcel-" + order.OrderID}, err
		})
	}
	recall := func(ctx context.Context, undo goconductor.CompensationInput[Order, Shipment]) error {
		return inbox.Compensate(ctx, box, func(tx *sql.Tx, _ Shipment) error {
			_, err := tx.ExecContext(ctx, "DELETE FROM parcels WHERE order_id = ?", undo.Input.OrderID)
			return err
		})
	}
	goconductor.Pair(service, "ship", ship, "recall", recall)
	return service
}
