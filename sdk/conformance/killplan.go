package main

import (
	"fmt"
	"math/rand/v2"
	"strings"
)

// The statuses in which a saga may end, and the operations of the rows in the tables of the participants.
const (
	statusCompleted     = "COMPLETED"
	statusRolledBack    = "ROLLED_BACK"
	operationExecute    = "execute"
	operationCompensate = "compensate"
)

// killRunActions are the actions of each participant, with a script for each attempt. An action that dies does so in its
// first attempt, after the commit of its transaction and before the answer.
var killRunActions = map[string][]script{
	"act":       {{recordEffect(false)}},
	"act_dies":  {{recordEffect(true)}, {recordEffect(false)}},
	"undo":      {{recordEffect(false)}},
	"undo_dies": {{recordEffect(true)}, {recordEffect(false)}},
	"refuse":    {{{"refuse": map[string]any{"code": "REFUSED", "message": "the plan refuses the last step"}}}},
}

// recordEffect returns the instruction that records the effect through the inbox.
func recordEffect(dies bool) map[string]any {
	return map[string]any{"inbox": map[string]any{"output": map[string]any{"recorded": true}, "die": dies}}
}

// plannedSaga is a saga of a kill run. It has one step for each participant.
type plannedSaga struct {
	number int
	// order are the participants in the order of their steps.
	order []string
	// refused is set if the last step is refused.
	refused bool
	// dies are the operations, execute and compensate, after whose commit a participant dies.
	dies map[string]map[string]bool
}

// planSagas plans sagas in which each participant dies at least `kills` times after the commit of an execute, and as often
// after that of a compensation.
func planSagas(seed uint64, participants []string, sagas, kills int, refused float64) ([]plannedSaga, error) {
	random := rand.New(rand.NewPCG(seed, seed))
	plan := make([]plannedSaga, sagas)
	for number := range plan {
		each := &plan[number]
		each.number = number
		for _, position := range random.Perm(len(participants)) {
			each.order = append(each.order, participants[position])
		}
		each.dies = map[string]map[string]bool{operationExecute: {}, operationCompensate: {}}
	}
	for _, number := range random.Perm(sagas)[:min(sagas, int(float64(sagas)*refused+0.5))] {
		plan[number].refused = true
	}
	for _, participant := range participants {
		for _, operation := range []string{operationExecute, operationCompensate} {
			var candidates []int
			for number, each := range plan {
				if each.runs(participant, operation) {
					candidates = append(candidates, number)
				}
			}
			if len(candidates) < kills {
				return nil, fmt.Errorf("%d sagas have %d steps of %s to %s, too few for %d kills; increase -sagas or lower -kills",
					sagas, len(candidates), participant, operation, kills)
			}
			random.Shuffle(len(candidates), func(i, j int) { candidates[i], candidates[j] = candidates[j], candidates[i] })
			for _, number := range candidates[:kills] {
				plan[number].dies[operation][participant] = true
			}
		}
	}
	return plan, nil
}

// runs tells whether the participant commits an operation in this saga.
func (s plannedSaga) runs(participant, operation string) bool {
	refuses := s.refused && s.order[len(s.order)-1] == participant
	return !refuses && (operation == operationExecute || s.refused)
}

func (s plannedSaga) name() string { return fmt.Sprintf("saga-%05d", s.number) }

// step returns the name of the step of a participant. It names the saga, so that a row in the table of the participant does.
func (s plannedSaga) step(participant string) string {
	return fmt.Sprintf("%s_%05d", participant, s.number)
}

// expectedStatus returns the status in which the saga ends.
func (s plannedSaga) expectedStatus() string {
	if s.refused {
		return statusRolledBack
	}
	return statusCompleted
}

// definition returns the definition of the saga. Attempts whose outcome a kill leaves unknown are repeated.
func (s plannedSaga) definition() string {
	var text strings.Builder
	_, _ = fmt.Fprintf(&text, "workflow: %s\nsteps:\n", s.name())
	for position, participant := range s.order {
		action, undo := "act", "undo"
		if s.dies[operationExecute][participant] {
			action = "act_dies"
		}
		if s.dies[operationCompensate][participant] {
			undo = "undo_dies"
		}
		if s.refused && position == len(s.order)-1 {
			action = "refuse"
		}
		_, _ = fmt.Fprintf(&text, `  - name: %s
    run: %s/%s
    compensate: { run: %s/%s, retry: { initial: 50ms, max: 500ms } }
    timeout: 30s
    retry: { max_attempts: unlimited, initial: 50ms, max: 500ms }
`, s.step(participant), participant, action, participant, undo)
	}
	return text.String()
}
