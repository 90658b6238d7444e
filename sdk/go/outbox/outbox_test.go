package outbox_test

import (
	"context"
	"database/sql"
	"errors"
	"path/filepath"
	"sync"
	"testing"
	"time"

	_ "github.com/mattn/go-sqlite3"

	"github.com/goconductor/goconductor/sdk/go/outbox"
)

func open(t *testing.T) (*sql.DB, *outbox.Outbox) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "participant.db")
	db, err := sql.Open("sqlite3", "file:"+file+"?_busy_timeout=30000&_journal_mode=WAL")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	events := outbox.SQLite(db)
	for range 2 {
		if err := events.Migrate(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	return db, events
}

func emit(t *testing.T, db *sql.DB, events *outbox.Outbox, payload any, commit bool) string {
	t.Helper()
	tx, err := db.BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	id, err := events.Emit(t.Context(), tx, "order-paid", payload)
	if err != nil {
		t.Fatal(err)
	}
	end := tx.Rollback
	if commit {
		end = tx.Commit
	}
	if err := end(); err != nil {
		t.Fatal(err)
	}
	return id
}

func TestOnlyEventsOfCommittedTransactionsArePublished(t *testing.T) {
	t.Parallel()
	db, events := open(t)
	emit(t, db, events, "rolled back", false)
	first := emit(t, db, events, map[string]any{"n": 1}, true)
	second := emit(t, db, events, "two", true)
	var published []outbox.Event
	fails := true
	publish := func(_ context.Context, event outbox.Event) error {
		if event.ID == first && fails {
			return errors.New("the broker is not available")
		}
		published = append(published, event)
		return nil
	}
	if count, err := events.Flush(t.Context(), publish); count != 1 || err == nil {
		t.Errorf("published %d, %v", count, err)
	}
	fails = false
	if count, err := events.Flush(t.Context(), publish); count != 1 || err != nil {
		t.Errorf("published %d, %v", count, err)
	}
	if count, err := events.Flush(t.Context(), publish); count != 0 || err != nil {
		t.Errorf("published %d, %v", count, err)
	}
	if len(published) != 2 || published[0].ID != second || published[1].ID != first ||
		string(published[1].Payload) != `{"n":1}` || published[1].Topic != "order-paid" {
		t.Errorf("published %v", published)
	}
}

func TestRelaysShareTheEvents(t *testing.T) {
	t.Parallel()
	db, events := open(t)
	for number := range 250 {
		emit(t, db, events, number, true)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	var mutex sync.Mutex
	seen := map[string]int{}
	var group sync.WaitGroup
	for range 2 {
		group.Go(func() {
			err := events.Relay(ctx, func(_ context.Context, event outbox.Event) error {
				mutex.Lock()
				defer mutex.Unlock()
				seen[event.ID]++
				if len(seen) == 250 {
					// The transaction of the last event commits before the relays end.
					time.AfterFunc(500*time.Millisecond, cancel)
				}
				return nil
			})
			if !errors.Is(err, context.Canceled) {
				t.Error(err)
			}
		})
	}
	group.Wait()
	for id, count := range seen {
		if count != 1 {
			t.Errorf("event %s was published %d times", id, count)
		}
	}
	if len(seen) != 250 {
		t.Errorf("%d events were published", len(seen))
	}
}
