package main

import (
	"slices"
	"strings"
	"testing"
)

var testParticipants = []string{"go", "java", "rust"}

func testPlan(t *testing.T) []plannedSaga {
	t.Helper()
	plan, err := planSagas(1, testParticipants, 30, 2, 0.3)
	if err != nil {
		t.Fatal(err)
	}
	return plan
}

func TestPlanKillsEachParticipantAfterBothOperations(t *testing.T) {
	refused := 0
	deaths := map[string]int{}
	orders := map[string]bool{}
	for _, saga := range testPlan(t) {
		orders[strings.Join(saga.order, " ")] = true
		if saga.refused {
			refused++
		}
		for operation, participants := range saga.dies {
			for participant := range participants {
				if !saga.runs(participant, operation) {
					t.Errorf("%s does not %s in %+v", participant, operation, saga)
				}
				deaths[operation+" "+participant]++
			}
		}
	}
	if refused != 9 || len(orders) != 6 {
		t.Errorf("refused %d of 30 sagas in %d orders", refused, len(orders))
	}
	for _, participant := range testParticipants {
		if deaths["execute "+participant] != 2 || deaths["compensate "+participant] != 2 {
			t.Errorf("unexpected deaths: %v", deaths)
		}
	}
}

func TestPlanWithTooFewSagasIsRefused(t *testing.T) {
	if _, err := planSagas(1, testParticipants, 5, 4, 0.3); err == nil {
		t.Error("the plan was accepted")
	}
}

func TestKillsAreSpreadOverTheRun(t *testing.T) {
	for position := range testParticipants {
		var at []int
		for ended := 1; ended <= 30; ended++ {
			if killDue(ended, 30, 4, position, len(testParticipants)) {
				at = append(at, ended)
			}
		}
		if len(at) != 4 || at[3] < 15 || at[3] == 30 {
			t.Errorf("participant %d is killed at %v", position, at)
		}
	}
}

func TestAuditFindsEachFault(t *testing.T) {
	plan := testPlan(t)
	completed := slices.IndexFunc(plan, func(saga plannedSaga) bool { return !saga.refused })
	rolledBack := slices.IndexFunc(plan, func(saga plannedSaga) bool { return saga.refused })
	// The first participant of a saga executes in each of them.
	of := func(index int) (string, string) {
		participant := plan[index].order[0]
		return participant, plan[index].step(participant)
	}
	whose, standing := of(completed)
	undoneBy, undone := of(rolledBack)
	faults := map[string]func(statuses []string, effects map[string][]effect){
		"": func([]string, map[string][]effect) {},
		"rows [execute execute]": func(_ []string, effects map[string][]effect) {
			effects[whose] = append(effects[whose], effect{standing, operationExecute})
		},
		"rows [execute compensate]": func(_ []string, effects map[string][]effect) {
			effects[whose] = append(effects[whose], effect{standing, operationCompensate})
		},
		"rows [execute compensate compensate]": func(_ []string, effects map[string][]effect) {
			effects[undoneBy] = append(effects[undoneBy], effect{undone, operationCompensate})
		},
		"rows [execute]": func(_ []string, effects map[string][]effect) {
			effects[undoneBy] = slices.DeleteFunc(effects[undoneBy], func(row effect) bool {
				return row == effect{undone, operationCompensate}
			})
		},
		"rows []": func(_ []string, effects map[string][]effect) {
			effects[whose] = slices.DeleteFunc(effects[whose], func(row effect) bool { return row.step == standing })
		},
		"of no saga": func(_ []string, effects map[string][]effect) {
			effects[whose] = append(effects[whose], effect{"stranger", operationExecute})
		},
		"ended ERROR": func(statuses []string, _ map[string][]effect) { statuses[completed] = "ERROR" },
	}
	for expected, change := range faults {
		statuses, effects := perfectRun(plan)
		change(statuses, effects)
		found := auditEffects(plan, statuses, effects)
		if expected == "" && len(found) > 0 || expected != "" && (len(found) != 1 || !strings.Contains(found[0], expected)) {
			t.Errorf("expected the fault %q, got %q", expected, found)
		}
	}
}

// perfectRun returns the statuses and the tables of a run without faults.
func perfectRun(plan []plannedSaga) ([]string, map[string][]effect) {
	var statuses []string
	effects := map[string][]effect{}
	for _, saga := range plan {
		statuses = append(statuses, saga.expectedStatus())
		for _, operation := range []string{operationExecute, operationCompensate} {
			for _, participant := range saga.order {
				if saga.runs(participant, operation) {
					effects[participant] = append(effects[participant], effect{saga.step(participant), operation})
				}
			}
		}
	}
	return statuses, effects
}
