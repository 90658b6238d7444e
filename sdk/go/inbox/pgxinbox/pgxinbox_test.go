package pgxinbox_test

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/goconductor/goconductor/sdk/go"
	"github.com/goconductor/goconductor/sdk/go/gctest"
	"github.com/goconductor/goconductor/sdk/go/inbox/pgxinbox"
	"github.com/goconductor/goconductor/sdk/go/internal/testdb"
)

func connect(t *testing.T) *pgxpool.Pool {
	t.Helper()
	config, err := pgxpool.ParseConfig(testdb.PostgresURL(t))
	if err != nil {
		t.Fatal(err)
	}
	schema := "pgxinbox_" + strings.ToLower(rand.Text())
	config.ConnConfig.RuntimeParams["search_path"] = schema
	pool, err := pgxpool.NewWithConfig(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	for _, statement := range []string{"CREATE SCHEMA " + schema, "CREATE TABLE effects (step TEXT, operation TEXT)"} {
		if _, err := pool.Exec(t.Context(), statement); err != nil {
			t.Fatal(err)
		}
	}
	return pool
}

func TestSagaTakesEffectOnceInTransactionsOfPgx(t *testing.T) {
	t.Parallel()
	pool := connect(t)
	box := pgxinbox.New(pool)
	for range 2 {
		if err := box.Migrate(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	record := func(ctx context.Context, tx pgx.Tx) error {
		attempt := goconductor.AttemptOf(ctx)
		_, err := tx.Exec(ctx, "INSERT INTO effects VALUES ($1, $2)", attempt.Step(), attempt.Operation())
		return err
	}
	charge := func(ctx context.Context, amount int) (string, error) {
		return pgxinbox.Execute(ctx, box, func(tx pgx.Tx) (string, error) {
			return fmt.Sprintf("p-%d", amount), record(ctx, tx)
		})
	}
	refund := func(ctx context.Context, undo goconductor.CompensationInput[int, string]) error {
		return pgxinbox.Compensate(ctx, box, func(tx pgx.Tx, payment string) error {
			if expected := fmt.Sprintf("p-%d", undo.Input); payment != expected {
				return errors.New("the output is " + payment)
			}
			return record(ctx, tx)
		})
	}
	shop := goconductor.NewService("shop")
	goconductor.Pair(shop, "charge", charge, "refund", refund)
	goconductor.Action(shop, "ship", func(context.Context, int) (any, error) {
		return nil, goconductor.Refused("NO", "no")
	})
	definition := []byte(`
workflow: order
steps:
  - { name: charge, run: shop/charge, compensate: shop/refund }
  - { name: ship, run: shop/ship, compensate: none }
`)
	run := gctest.NewDefinition(t, gctest.Start(t), "order", definition, shop).
		Inject(gctest.OnExecute("charge"), gctest.Duplicate).
		Inject(gctest.OnCompensate("charge"), gctest.Unknown).
		Run(42)
	run.AssertStatus(goconductor.StatusRolledBack)
	run.AssertSameKeys()
	rows, err := pool.Query(t.Context(), "SELECT step || '/' || operation FROM effects")
	if err != nil {
		t.Fatal(err)
	}
	effects, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil || strings.Join(effects, " ") != "charge/execute charge/compensate" {
		t.Errorf("the effects are %q, %v", effects, err)
	}
	if removed, err := box.Prune(t.Context(), 0); err != nil || removed != 1 {
		t.Errorf("pruned %d, %v", removed, err)
	}
}
