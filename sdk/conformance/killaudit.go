package main

import "fmt"

// endStatuses are the statuses of sagas that have ended, or that go on only when a person acts.
var endStatuses = []string{statusCompleted, statusRolledBack, "TERMINATED", "ERROR"}

// effect is a row in the table of a participant.
type effect struct{ step, operation string }

// auditEffects compares the tables of the participants with the final statuses of the sagas. It returns the differences.
// The effects of a completed saga stand, each once. Those of a saga that was rolled back are undone, each once.
func auditEffects(plan []plannedSaga, statuses []string, effects map[string][]effect) []string {
	var faults []string
	rows := map[string][]string{}
	for _, table := range effects {
		for _, row := range table {
			rows[row.step] = append(rows[row.step], row.operation)
		}
	}
	for index, saga := range plan {
		if statuses[index] != saga.expectedStatus() {
			faults = append(faults, fmt.Sprintf("%s ended %s, expected %s", saga.name(), statuses[index], saga.expectedStatus()))
		}
		for _, participant := range saga.order {
			step := saga.step(participant)
			if fault := auditStep(saga, participant, statuses[index], rows[step]); fault != "" {
				faults = append(faults, fmt.Sprintf("%s, %s: %s", saga.name(), statuses[index], fault))
			}
			delete(rows, step)
		}
	}
	for step, operations := range rows {
		faults = append(faults, fmt.Sprintf("the step %s of no saga has the rows %v", step, operations))
	}
	return faults
}

// auditStep returns the fault of the rows of a step, or an empty text.
func auditStep(saga plannedSaga, participant, status string, operations []string) string {
	var expected []string
	if saga.runs(participant, operationExecute) {
		expected = append(expected, operationExecute)
		if status == statusRolledBack {
			expected = append(expected, operationCompensate)
		}
	}
	if fmt.Sprint(operations) == fmt.Sprint(expected) {
		return ""
	}
	return fmt.Sprintf("the table of %s has the rows %v of %s, expected %v",
		participant, operations, saga.step(participant), expected)
}
