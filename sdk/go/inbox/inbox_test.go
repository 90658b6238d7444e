package inbox_test

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/goconductor/goconductor/sdk/go"
	"github.com/goconductor/goconductor/sdk/go/inbox"
	"github.com/goconductor/goconductor/sdk/go/internal/testdb"
)

// participant is a participant with a table of effects and an inbox.
type participant struct {
	*inbox.Inbox
	db     *sql.DB
	insert string
	query  string
}

const effects = "CREATE TABLE effects (step VARCHAR(200) NOT NULL, applied INT NOT NULL, undone INT NOT NULL)"

func newParticipant(t *testing.T, db *sql.DB, box *inbox.Inbox, marks ...string) *participant {
	t.Helper()
	db.SetMaxOpenConns(16)
	var group sync.WaitGroup
	for range 2 {
		group.Go(func() {
			if err := box.Migrate(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
	if _, err := db.ExecContext(t.Context(), effects); err != nil {
		t.Fatal(err)
	}
	return &participant{
		Inbox: box, db: db,
		insert: fmt.Sprintf("INSERT INTO effects (step, applied, undone) VALUES (%s, %s, %s)", marks[0], marks[1], marks[2]),
		query:  "SELECT coalesce(sum(applied), 0), coalesce(sum(undone), 0) FROM effects WHERE step = " + marks[0],
	}
}

func onSQLite(t *testing.T) *participant {
	db := testdb.SQLite(t)
	return newParticipant(t, db, inbox.SQLite(db), "?", "?", "?")
}

func onPostgres(t *testing.T) *participant {
	db := testdb.Postgres(t)
	return newParticipant(t, db, inbox.Postgres(db), "$1", "$2", "$3")
}

func onMySQL(t *testing.T) *participant {
	db := testdb.MySQL(t)
	return newParticipant(t, db, inbox.MySQL(db), "?", "?", "?")
}

var databases = map[string]func(*testing.T) *participant{
	"sqlite": onSQLite, "postgres": onPostgres, "mysql": onMySQL,
}

type output struct {
	Step string      `json:"step"`
	N    json.Number `json:"n"`
}

var errRequested = errors.New("requested failure")

// execute adds an effect.
func (p *participant) execute(ctx context.Context, key string, fails bool) (string, error) {
	step := strings.TrimSuffix(key, "/execute")
	text, err := p.Do(ctx, key, func(tx *sql.Tx) (any, error) {
		if _, err := tx.ExecContext(ctx, p.insert, step, 1, 0); err != nil {
			return nil, err
		}
		if fails {
			return nil, errRequested
		}
		return output{step, "12345678901234567890"}, nil
	})
	return string(text), err
}

// compensate undoes the effect.
func (p *participant) compensate(ctx context.Context, key string, fails bool) error {
	step := strings.TrimSuffix(key, "/compensate")
	return p.Undo(ctx, key, func(tx *sql.Tx, done json.RawMessage) error {
		if expected := outputOf(step); string(done) != expected {
			return fmt.Errorf("the output of the execute is %s, not %s", done, expected)
		}
		if _, err := tx.ExecContext(ctx, p.insert, step, 0, 1); err != nil {
			return err
		}
		if fails {
			return errRequested
		}
		return nil
	})
}

func outputOf(step string) string { return `{"step":"` + step + `","n":12345678901234567890}` }

func (p *participant) expectEffects(t *testing.T, step string, applied, undone int) {
	t.Helper()
	a, u := p.effects(t, step)
	if a != applied || u != undone {
		t.Errorf("%s: applied %d, undone %d; expected %d and %d", step, a, u, applied, undone)
	}
}

func (p *participant) effects(t *testing.T, step string) (applied, undone int) {
	t.Helper()
	if err := p.db.QueryRowContext(context.Background(), p.query, step).Scan(&applied, &undone); err != nil {
		t.Fatal(err)
	}
	return applied, undone
}

// onEach runs a test on each database.
func onEach(t *testing.T, test func(t *testing.T, p *participant)) {
	for name, create := range databases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, create(t))
		})
	}
}

func isRefused(err error) bool {
	var action *goconductor.ActionError
	return errors.As(err, &action) && action.Kind == goconductor.KindRefused && action.Code == "UNDONE"
}

func TestInboxKeepsEachGuarantee(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, p *participant) {
		ctx := t.Context()
		execute := func(key string, fails bool, expected string) {
			t.Helper()
			if text, err := p.execute(ctx, key, fails); err != nil || text != expected {
				t.Errorf("%s: %s, %v; expected %s", key, text, err, expected)
			}
		}
		compensate := func(key string, fails bool) {
			t.Helper()
			if err := p.compensate(ctx, key, fails); err != nil {
				t.Errorf("%s: %v", key, err)
			}
		}
		refused := func(key string) {
			t.Helper()
			if text, err := p.execute(ctx, key, false); !isRefused(err) {
				t.Errorf("%s was not refused: %s, %v", key, text, err)
			}
		}
		// An execute takes effect once, and a repeated request returns its output.
		execute("w/a/execute", false, outputOf("w/a"))
		execute("w/a/execute", true, outputOf("w/a"))
		p.expectEffects(t, "w/a", 1, 0)
		// A compensate takes effect once, and a later execute is refused.
		compensate("w/a/compensate", false)
		compensate("w/a/compensate", true)
		refused("w/a/execute")
		p.expectEffects(t, "w/a", 1, 1)
		// A compensate without an execute does nothing, and a later execute is refused.
		compensate("w/b/compensate", true)
		refused("w/b/execute")
		compensate("w/b/compensate", true)
		p.expectEffects(t, "w/b", 0, 0)
		// A transaction that is rolled back leaves no record.
		if _, err := p.execute(ctx, "w/c/execute", true); !errors.Is(err, errRequested) {
			t.Errorf("the error is %v", err)
		}
		p.expectEffects(t, "w/c", 0, 0)
		execute("w/c/execute", false, outputOf("w/c"))
		if err := p.compensate(ctx, "w/c/compensate", true); !errors.Is(err, errRequested) {
			t.Errorf("the error is %v", err)
		}
		p.expectEffects(t, "w/c", 1, 0)
		compensate("w/c/compensate", false)
		// An invalid key changes nothing.
		for _, key := range []string{"", "execute", "/execute", "w/execute", "w//execute", "w/d/compensate", "w/d/e/execute"} {
			if _, err := p.execute(ctx, key, false); !errors.Is(err, inbox.ErrKey) {
				t.Errorf("%q: %v", key, err)
			}
		}
		// Only records older than the given age are removed.
		if removed, err := p.Prune(ctx, time.Hour); err != nil || removed != 0 {
			t.Errorf("pruned %d, %v", removed, err)
		}
		time.Sleep(1100 * time.Millisecond)
		if removed, err := p.Prune(ctx, 0); err != nil || removed != 3 {
			t.Errorf("pruned %d, %v", removed, err)
		}
	})
}

func TestConcurrentRequestsTakeEffectOnce(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, p *participant) {
		var group sync.WaitGroup
		for number := range 160 {
			group.Go(func() {
				step := number % 5
				// Half of the requests fail, and other processes repeat them. Some steps are compensated in between.
				if number%16 == 7 && step%2 == 0 {
					if err := p.compensate(t.Context(), fmt.Sprintf("concurrent/s%d/compensate", step), false); err != nil {
						t.Error(err)
					}
					return
				}
				key := fmt.Sprintf("concurrent/s%d/execute", step)
				_, err := p.execute(t.Context(), key, number%2 == 0)
				if err != nil && !errors.Is(err, errRequested) && !isRefused(err) {
					t.Error(err)
				}
			})
		}
		group.Wait()
		for step := range 5 {
			name := fmt.Sprintf("concurrent/s%d", step)
			applied, undone := p.effects(t, name)
			if applied > 1 || undone > applied || step%2 == 1 && (applied != 1 || undone != 0) {
				t.Errorf("%s: applied %d, undone %d", name, applied, undone)
			}
		}
	})
}

func TestPanicRollsBack(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, p *participant) {
		func() {
			defer func() { _ = recover() }()
			_, _ = p.Do(t.Context(), "w/a/execute", func(tx *sql.Tx) (any, error) {
				if _, err := tx.ExecContext(t.Context(), p.insert, "w/a", 1, 0); err != nil {
					t.Error(err)
				}
				panic("requested")
			})
		}()
		p.expectEffects(t, "w/a", 0, 0)
		if _, err := p.execute(t.Context(), "w/a/execute", false); err != nil {
			t.Error(err)
		}
		p.expectEffects(t, "w/a", 1, 0)
	})
}

func TestContextWithoutAttemptIsRefused(t *testing.T) {
	t.Parallel()
	_, err := inbox.Execute(t.Context(), onSQLite(t).Inbox, func(*sql.Tx) (int, error) { return 1, nil })
	if err == nil || !strings.Contains(err.Error(), "use Do or Undo") {
		t.Errorf("the error is %v", err)
	}
}
