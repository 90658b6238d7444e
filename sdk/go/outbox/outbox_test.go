package outbox_test

import (
	"context"
	"database/sql"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/goconductor/goconductor/sdk/go/internal/testdb"
	"github.com/goconductor/goconductor/sdk/go/outbox"
)

// databases opens an empty database of each kind.
var databases = map[string]func(t *testing.T) (*sql.DB, *outbox.Outbox){
	"sqlite": func(t *testing.T) (*sql.DB, *outbox.Outbox) {
		db := testdb.SQLite(t)
		return db, outbox.SQLite(db)
	},
	"postgres": func(t *testing.T) (*sql.DB, *outbox.Outbox) {
		db := testdb.Postgres(t)
		return db, outbox.Postgres(db)
	},
	"mysql": func(t *testing.T) (*sql.DB, *outbox.Outbox) {
		db := testdb.MySQL(t)
		return db, outbox.MySQL(db)
	},
}

// onEach runs a test on each database.
func onEach(t *testing.T, test func(t *testing.T, db *sql.DB, events *outbox.Outbox)) {
	for name, open := range databases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			db, events := open(t)
			for range 2 {
				if err := events.Migrate(t.Context()); err != nil {
					t.Fatal(err)
				}
			}
			test(t, db, events)
		})
	}
}

func emit(t *testing.T, db *sql.DB, events *outbox.Outbox, payload any, commit bool) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		t.Fatal(err)
	}
	id, err := events.Emit(ctx, tx, "order-paid", payload)
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
	onEach(t, onlyCommittedArePublished)
}

func onlyCommittedArePublished(t *testing.T, db *sql.DB, events *outbox.Outbox) {
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

func TestPublicationDelaysNoTransaction(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, db *sql.DB, events *outbox.Outbox) {
		if t.Name() == "TestPublicationDelaysNoTransaction/sqlite" {
			t.Skip("SQLite has one writer at a time")
		}
		first := emit(t, db, events, 1, true)
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		count, err := events.Flush(ctx, func(ctx context.Context, event outbox.Event) error {
			if event.ID != first {
				t.Errorf("published %v", event)
			}
			emit(t, db, events, 2, true)
			return ctx.Err()
		})
		if count != 1 || err != nil {
			t.Errorf("published %d, %v", count, err)
		}
	})
}

func TestRelaysShareTheEvents(t *testing.T) {
	t.Parallel()
	onEach(t, relaysShareTheEvents)
}

func relaysShareTheEvents(t *testing.T, db *sql.DB, events *outbox.Outbox) {
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
