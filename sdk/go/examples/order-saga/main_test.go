package main

import (
	"database/sql"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/goconductor/goconductor/sdk/go"
	"github.com/goconductor/goconductor/sdk/go/gctest"
	"github.com/goconductor/goconductor/sdk/go/inbox"
)

// order-saga/order.yaml is the definition of the same saga in Rust.
const definition = "../../../../examples/order-saga/order.yaml"

func TestEachFaultAtEachStepLeavesTheTablesConsistent(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile(definition)
	if err != nil {
		t.Fatal(err)
	}
	db, err := sql.Open("sqlite3", "file:"+filepath.Join(t.TempDir(), "shop.db")+"?_busy_timeout=30000&_journal_mode=WAL")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = db.Close() }()
	box := inbox.SQLite(db)
	if err := box.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := db.ExecContext(t.Context(), tables); err != nil {
		t.Fatal(err)
	}
	number := 0
	expected := 0
	check := func(input Order, run *gctest.Run, completes bool) {
		status := goconductor.StatusRolledBack
		if completes {
			status = goconductor.StatusCompleted
			expected++
		}
		run.AssertStatus(status)
		run.AssertNothingStands()
		var reserved, available, charged, shipped int
		query := `SELECT (SELECT count(*) FROM reservations), (SELECT 1000 - available FROM stock WHERE sku = 'book'),
			(SELECT count(*) FROM payments), (SELECT count(*) FROM parcels)`
		if err := db.QueryRowContext(t.Context(), query).Scan(&reserved, &available, &charged, &shipped); err != nil {
			t.Fatal(err)
		}
		if reserved != expected || available != expected || charged != expected || shipped != expected {
			t.Fatalf("%v: %d reserved, %d taken, %d charged, %d shipped; expected %d\n%s",
				input, reserved, available, charged, shipped, expected, run.Timeline())
		}
	}
	server := gctest.Start(t)
	saga := gctest.NewDefinition(t, server, "order", text, inventory(box), payments(box), shipping(box))
	next := func() Order {
		number++
		return Order{OrderID: "o-" + strings.Repeat("i", number), SKU: "book", Amount: 42}
	}
	for _, step := range []string{"reserve", "charge", "ship"} {
		for _, fault := range []gctest.Fault{gctest.Refuse, gctest.Fail, gctest.Unknown, gctest.Crash, gctest.Duplicate} {
			input := next()
			check(input, saga.Inject(gctest.OnExecute(step), fault).Run(input), fault != gctest.Refuse)
		}
	}
	input := next()
	input.To = "nowhere"
	run := saga.Inject(gctest.OnCompensate("charge"), gctest.Crash).Inject(gctest.OnCompensate("reserve"), gctest.Unknown).Run(input)
	run.AssertCompensated("charge", "reserve")
	check(input, run, false)
}

func TestProgramsOfTheExamplesRun(t *testing.T) {
	t.Parallel()
	source, err := os.ReadFile("../order-in-one/main.go")
	if err != nil {
		t.Fatal(err)
	}
	if lines := strings.Count(string(source), "\n"); lines > 40 {
		t.Errorf("order-in-one has %d lines, more than 40", lines)
	}
	server := gctest.Start(t)
	command := exec.Command("go", "run", "../order-in-one")
	command.Env = append(os.Environ(), "GOCONDUCTOR_SERVER="+server.URL())
	output, err := command.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, output)
	}
	expected := []string{"charged", "book COMPLETED", "charged", "refunded", "sold-out ROLLED_BACK"}
	if lines := strings.Fields(strings.Join(expected, " ")); strings.Join(strings.Fields(string(output)), " ") != strings.Join(lines, " ") {
		t.Errorf("the program printed %s", output)
	}
}
